"""Foundation models: what can be invoked in a Region, and how."""

from msgspec import structs

from outcrop.iam.caller import Caller
from outcrop.store.catalogue import Catalogue, FoundationModel, ServesModel
from outcrop.wire.arn import Arn
from outcrop.wire.errors import ResourceNotFoundException
from outcrop.wire.shapes.bedrock import (
    AgreementAvailability,
    FoundationModelDetails,
    FoundationModelLifecycle,
    FoundationModelSummary,
    GetFoundationModelAvailabilityRequest,
    GetFoundationModelAvailabilityResponse,
    GetFoundationModelRequest,
    GetFoundationModelResponse,
    ListFoundationModelsRequest,
    ListFoundationModelsResponse,
)


class FoundationModels:
    def __init__(self, catalogue: Catalogue, *, serves: ServesModel) -> None:
        self._catalogue = catalogue
        self._serves = serves

    async def list_foundation_models(
        self, caller: Caller, request: ListFoundationModelsRequest
    ) -> ListFoundationModelsResponse:
        return ListFoundationModelsResponse(
            model_summaries=[
                _summary(model, caller)
                for model in self._catalogue.foundation_models(caller.region)
                if _matches(model, request)
            ]
        )

    async def get_foundation_model(
        self, caller: Caller, request: GetFoundationModelRequest
    ) -> GetFoundationModelResponse:
        model = self._found(caller, request.model_identifier)
        return GetFoundationModelResponse(
            # The details have the members of a summary, and no more.
            model_details=FoundationModelDetails(**structs.asdict(_summary(model, caller)))
        )

    async def get_foundation_model_availability(
        self, caller: Caller, request: GetFoundationModelAvailabilityRequest
    ) -> GetFoundationModelAvailabilityResponse:
        """A model of another Region is known, and not available here; so is one nobody serves."""
        model = self._catalogue.listed_model(caller.region, request.model_id)
        if model is None and not self._catalogue.model_anywhere(request.model_id):
            raise _not_found()
        served = model is not None and self._serves(model, caller.region)
        return GetFoundationModelAvailabilityResponse(
            model_id=request.model_id,
            agreement_availability=AgreementAvailability(status="AVAILABLE"),
            authorization_status="AUTHORIZED",
            entitlement_availability="AVAILABLE" if served else "NOT_AVAILABLE",
            region_availability="AVAILABLE" if model else "NOT_AVAILABLE",
        )

    def _found(self, caller: Caller, identifier: str) -> FoundationModel:
        """Raises ResourceNotFoundException for what this Region does not have."""
        model_id = identifier
        if identifier.startswith("arn:"):
            arn = Arn.parse(identifier)
            if arn.partition != caller.partition or arn.region not in {caller.region, ""}:
                raise _not_found()
            model_id = arn.resource_id
        model = self._catalogue.listed_model(caller.region, model_id)
        if model is None:
            raise _not_found()
        return model


def _matches(model: FoundationModel, request: ListFoundationModelsRequest) -> bool:
    # Amazon's own examples write `--by-provider amazon` for the provider Amazon.
    provider = (request.by_provider or model.provider_name).casefold()
    return (
        provider == model.provider_name.casefold()
        and request.by_customization_type in {None, *model.customizations_supported}
        and request.by_output_modality in {None, *model.output_modalities}
        and request.by_inference_type in {None, *model.inference_types_supported}
    )


def _summary(model: FoundationModel, caller: Caller) -> FoundationModelSummary:
    return FoundationModelSummary(
        model_arn=_arn(model, caller),
        model_id=model.model_id,
        model_name=model.model_name,
        provider_name=model.provider_name,
        input_modalities=list(model.input_modalities),
        output_modalities=list(model.output_modalities),
        response_streaming_supported=model.response_streaming_supported,
        customizations_supported=list(model.customizations_supported),
        inference_types_supported=list(model.inference_types_supported),
        model_lifecycle=FoundationModelLifecycle(status=model.lifecycle_status),
    )


def _arn(model: FoundationModel, caller: Caller) -> str:
    return f"arn:{caller.partition}:bedrock:{caller.region}::foundation-model/{model.model_id}"


def _not_found() -> ResourceNotFoundException:
    return ResourceNotFoundException(
        "Could not resolve the foundation model from the provided model identifier."
    )
