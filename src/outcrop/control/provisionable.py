"""Which models provisioned throughput can be bought for, and whether the fleet can hold it."""

from msgspec import Struct

from outcrop.fleet.units import Units
from outcrop.iam.caller import Caller
from outcrop.store.catalogue import Catalogue, CustomModel, ServesModel
from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.wire.arn import Arn
from outcrop.wire.errors import ResourceNotFoundException, ValidationException


class ProvisionableModel(Struct, frozen=True, kw_only=True):
    model_arn: str
    foundation_model_arn: str
    """The same for a foundation model; its base model's for a custom model."""


class ProvisionableModels:
    def __init__(
        self,
        catalogue: Catalogue,
        *,
        serves: ServesModel,
        units: Units,
        require_declared_units: bool = False,
    ) -> None:
        self._catalogue = catalogue
        self._serves = serves
        self._units = units
        self._require_declared_units = require_declared_units

    def named(
        self, caller: Caller, model_id: str, commitment_duration: str | None
    ) -> ProvisionableModel:
        """The model that CreateProvisionedModelThroughput names by id, name or ARN.

        Raises ValidationException for a model without provisioned throughput in the caller's
        Region, ResourceNotFoundException for a custom model that does not exist.
        """
        custom_model = self._custom_model(caller, model_id)
        if custom_model is not None:
            return _custom(caller, custom_model)
        foundation_model_id = _foundation_model_id(caller, model_id)
        variant = self._catalogue.provisioned_variant(caller.region, foundation_model_id)
        if variant is None:
            raise ValidationException(
                f"The provided model {model_id} doesn't support provisioned throughput in "
                f"{caller.region}."
            )
        if commitment_duration is None and not variant.no_commitment:
            raise ValidationException(
                f"Provisioned throughput for {model_id} requires a commitmentDuration."
            )
        arn = _foundation_model_arn(caller, foundation_model_id)
        return ProvisionableModel(model_arn=arn, foundation_model_arn=arn)

    def swapped(
        self, caller: Caller, record: ProvisionedModelThroughputRecord, desired_model_id: str
    ) -> ProvisionableModel:
        """The model that UpdateProvisionedModelThroughput asks for.

        Raises ValidationException unless the provisioned model is on a custom model and the desired
        one is its base model or another custom model of the same base.
        """
        desired = self.named(caller, desired_model_id, record.commitment_duration)
        if desired.model_arn == record.model_arn:
            return desired
        if ":custom-model/" not in record.model_arn:
            raise ValidationException(
                "The model of a provisioned model can be changed only if it is a custom model."
            )
        if desired.foundation_model_arn != record.foundation_model_arn:
            raise ValidationException(
                "The desired model must be the base model of the current one, or a custom model "
                "customized from the same base model."
            )
        return desired

    def refusal(self, record: ProvisionedModelThroughputRecord) -> str | None:
        """Why no server would answer for the model, as a failureMessage; None when one would.

        Whether enough of them is free is said by the room, when the units are taken.
        """
        arn = Arn.parse(record.desired_model_arn)
        model = self._catalogue.bought_model(record.region, arn)
        if model is None or not self._serves(model, record.region):
            return f"No model server in {record.region} serves {arn.resource_id}."
        if self._require_declared_units and not self._units.limits(model.model_id):
            return (
                f"No model server says how many model units of {model.model_id} it sustains:"
                f" declare its model_units, or run `outcrop calibrate {model.model_id}`."
            )
        return None

    def _custom_model(self, caller: Caller, model_id: str) -> CustomModel | None:
        """None for what isn't meant as one. Raises ResourceNotFoundException for an unknown ARN."""
        if ":custom-model/" not in model_id and ":imported-model/" not in model_id:
            found = self._catalogue.custom_model(caller.region, model_id)
            return found if found and found.custom_model_name == model_id else None
        found = self._catalogue.custom_model(caller.region, model_id.rpartition("/")[2])
        if found is None or _custom(caller, found).model_arn != model_id:
            raise ResourceNotFoundException(f"Could not find the custom model {model_id}.")
        return found


def _custom(caller: Caller, model: CustomModel) -> ProvisionableModel:
    return ProvisionableModel(
        model_arn=model.arn(caller.partition, caller.region, caller.account_id),
        foundation_model_arn=_foundation_model_arn(caller, model.base_model_id),
    )


def _foundation_model_id(caller: Caller, model_id: str) -> str:
    if not model_id.startswith("arn:"):
        return model_id
    arn = Arn.parse(model_id)
    if str(arn) != _foundation_model_arn(caller, arn.resource_id):
        raise ValidationException("The provided model identifier is invalid.")
    return arn.resource_id


def _foundation_model_arn(caller: Caller, model_id: str) -> str:
    return f"arn:{caller.partition}:bedrock:{caller.region}::foundation-model/{model_id}"
