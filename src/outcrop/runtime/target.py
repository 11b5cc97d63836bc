"""What a modelId stands for: a foundation model, the Regions it may run in, and who answers."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from outcrop.fleet.fleet import ANYWHERE, Fleet
from outcrop.fleet.pool import Pool
from outcrop.iam.caller import Caller
from outcrop.store.catalogue import Catalogue, FoundationModel
from outcrop.store.records import InferenceProfileRecord, ProvisionedModelThroughputRecord
from outcrop.wire.arn import Arn
from outcrop.wire.errors import (
    AccessDeniedException,
    ModelNotReadyException,
    ResourceNotFoundException,
    ValidationException,
)


class InferenceProfiles(Protocol):
    async def find(
        self, account_id: str, region: str, inference_profile_id: str
    ) -> InferenceProfileRecord | None: ...


class ProvisionedModelThroughputs(Protocol):
    async def find(
        self, account_id: str, region: str, *, provisioned_model_id: str
    ) -> ProvisionedModelThroughputRecord | None: ...


class Target(Struct, frozen=True, kw_only=True):
    """One call's model, for as long as the call lasts."""

    model_id: str
    """As the caller wrote it."""
    foundation_model: FoundationModel
    regions: tuple[str, ...]
    """Where it may run, the source Region first if it may run there."""
    pools: Sequence[Pool]
    """Who may answer, the nearest first; empty if nobody here serves the model."""
    pools_now: Callable[[], Sequence[Pool]]
    """The same, when the fleet may have changed since."""
    inference_profile_arn: str | None = None
    provisioned_model_arn: str | None = None
    model_units: int = 0
    """Of the provisioned model."""
    profile_id: str | None = None
    """Of the system-defined profile, whether called itself or copied by an application's."""
    tagged_arn: str | None = None
    """Of the resource that was called, if it can have tags."""
    stands_in: bool = False
    """Whether the embedded model answers in place of the foundation model."""

    @property
    def served_by_nobody(self) -> AccessDeniedException:
        """What Amazon says of a model that the account has not enabled: to a caller, the same."""
        return AccessDeniedException(
            "You don't have access to the model with the specified model ID."
        )


class _Meant(Struct, frozen=True, kw_only=True):
    """What the identifier names, before anybody asks who serves it."""

    foundation_model: FoundationModel
    regions: tuple[str, ...]
    inference_profile_arn: str | None = None
    provisioned_model_arn: str | None = None
    model_units: int = 0
    profile_id: str | None = None
    tagged_arn: str | None = None


class Targets:
    def __init__(
        self,
        catalogue: Catalogue,
        fleet: Fleet,
        inference_profiles: InferenceProfiles,
        provisioned_model_throughputs: ProvisionedModelThroughputs,
    ) -> None:
        self._catalogue = catalogue
        self._fleet = fleet
        self._inference_profiles = inference_profiles
        self._provisioned = provisioned_model_throughputs

    async def resolve(self, caller: Caller, model_id: str) -> Target:
        """The target, or the exception that Amazon's runtime answers the identifier with."""
        if model_id.startswith("arn:"):
            meant = await self._by_arn(caller, model_id)
        else:
            # Not an application profile's twelve characters: Amazon wants its whole ARN.
            found = self._system_profile(caller, model_id)
            meant = found or self._foundation_model(caller, model_id)
        return self._target(caller, model_id, meant)

    async def resolve_for_counting(self, caller: Caller, model_id: str) -> Target:
        """CountTokens takes the ids of models that can only be invoked through a profile, too."""
        model = self._catalogue.foundation_model(caller.region, model_id)
        if model is None:
            return await self.resolve(caller, model_id)
        meant = _Meant(foundation_model=model, regions=(caller.region,))
        return self._target(caller, model_id, meant)

    def _target(self, caller: Caller, model_id: str, meant: _Meant) -> Target:
        model = meant.foundation_model
        find = partial(self._fleet.pools, model.model_id, meant.regions, caller.region)
        pools = find()
        stand_in = () if pools else self._fleet.stand_in(model)
        return Target(
            model_id=model_id,
            foundation_model=model,
            regions=meant.regions,
            pools=pools or stand_in,
            pools_now=find,
            inference_profile_arn=meant.inference_profile_arn,
            provisioned_model_arn=meant.provisioned_model_arn,
            model_units=meant.model_units,
            profile_id=meant.profile_id,
            tagged_arn=meant.tagged_arn,
            stands_in=bool(stand_in),
        )

    async def _by_arn(self, caller: Caller, text: str) -> _Meant:
        arn = _parsed(text)
        owner = "" if arn.resource_type == "foundation-model" else caller.owner_of(text)
        if arn != _as_of(caller, owner, arn.resource):
            raise _invalid_identifier()
        match arn.resource_type:
            case "foundation-model":
                return self._foundation_model(caller, arn.resource_id)
            case "inference-profile":
                found = self._system_profile(caller, arn.resource_id)
            case "application-inference-profile":
                found = await self._application_profile(caller, arn)
            case "provisioned-model":
                found = await self._provisioned_model(caller, arn)
            case _:
                found = None
        if found is None:
            raise _invalid_identifier()
        return found

    def _foundation_model(self, caller: Caller, model_id: str) -> _Meant:
        model = self._catalogue.foundation_model(caller.region, model_id)
        if model is not None and "ON_DEMAND" in model.inference_types_supported:
            return _Meant(foundation_model=model, regions=(caller.region,))
        # An id with a context length (`:0:200k`) can be bought, not called: it counts as known.
        if model is None and self._catalogue.provisioned_model(caller.region, model_id) is None:
            raise _invalid_identifier()
        raise ValidationException(
            f"Invocation of model ID {model_id} with on-demand throughput isn\u2019t supported."
            " Retry your request with the ID or ARN of an inference profile that contains this"
            " model."
        )

    def _system_profile(self, caller: Caller, profile_id: str) -> _Meant | None:
        profile = self._catalogue.system_profile(caller.region, profile_id)
        if profile is None:
            return None
        arn = _as_of(caller, caller.account_id, f"inference-profile/{profile_id}")
        meant = self._through_profile(caller, str(arn), profile.model_arns)
        return meant and replace(meant, profile_id=profile_id)

    async def _application_profile(self, caller: Caller, arn: Arn) -> _Meant | None:
        record = await self._inference_profiles.find(arn.account_id, caller.region, arn.resource_id)
        if record is None:
            return None
        arn_of_profile = record.inference_profile_arn
        meant = self._through_profile(caller, arn_of_profile, record.model_arns)
        copied = self._catalogue.profile_with(caller.region, record.model_arns)
        return meant and replace(meant, profile_id=copied, tagged_arn=arn_of_profile)

    def _through_profile(
        self, caller: Caller, profile_arn: str, model_arns: Sequence[str]
    ) -> _Meant | None:
        model_id, regions = _destinations(caller.region, tuple(model_arns))
        model = self._model_anywhere(caller, model_id)
        if model is None:
            return None
        return _Meant(foundation_model=model, regions=regions, inference_profile_arn=profile_arn)

    async def _provisioned_model(self, caller: Caller, arn: Arn) -> _Meant | None:
        record = await self._provisioned.find(
            arn.account_id, caller.region, provisioned_model_id=arn.resource_id
        )
        if record is None:
            # Decision: as for every other resource that is not there; Amazon's text is not known.
            raise ResourceNotFoundException(
                "Could not resolve the foundation model from the provided model identifier."
            )
        # While Updating, the model as it was still answers.
        if record.status not in {"InService", "Updating"}:
            failed = record.status == "Failed"
            hint = "Its failureMessage says why." if failed else "Wait and try your request again."
            raise ModelNotReadyException(
                f"The provisioned model {record.provisioned_model_arn} is not ready to serve"
                f" inference requests: its status is {record.status}. {hint}"
            )
        return self._with_units(caller, record)

    def _with_units(
        self, caller: Caller, record: ProvisionedModelThroughputRecord
    ) -> _Meant | None:
        model = self._catalogue.bought_model(caller.region, Arn.parse(record.model_arn))
        if model is None:
            return None
        return _Meant(
            foundation_model=model,
            regions=(caller.region,),
            provisioned_model_arn=record.provisioned_model_arn,
            model_units=record.model_units,
            tagged_arn=record.provisioned_model_arn,
        )

    def _model_anywhere(self, caller: Caller, model_id: str) -> FoundationModel | None:
        """A profile may lead to Regions that list the model while the caller's does not."""
        here = self._catalogue.foundation_model(caller.region, model_id)
        return here or self._catalogue.model_anywhere(model_id)


def _parsed(text: str) -> Arn:
    try:
        return Arn.parse(text)
    except ValueError as error:
        raise _invalid_identifier() from error


def _as_of(caller: Caller, owner: str, resource: str) -> Arn:
    return Arn(caller.partition, "bedrock", caller.region, owner, resource)


# A catalogue has some hundred profiles; applications copy them.
@lru_cache(maxsize=1_024)
def _destinations(source: str, model_arns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The id of a profile's model, and its Regions, the source first.

    A global profile's region-less ARN stands for every Region, after those it names.
    """
    models = [Arn.parse(model_arn) for model_arn in model_arns]
    regions = sorted(
        [arn.region for arn in models], key=lambda region: (region == ANYWHERE, region != source)
    )
    return models[0].resource_id, tuple(dict.fromkeys(regions))


def _invalid_identifier() -> ValidationException:
    return ValidationException("The provided model identifier is invalid.")
