"""What is on offer: foundation models and system-defined inference profiles, per Region."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from outcrop.wire.arn import Arn, partition_of

EMBEDDED_MODEL_ID = "outcrop.smollm2-135m-instruct-v1:0"
EMBEDDING_MODEL_ID = "outcrop.all-minilm-l6-v2-v1:0"

CustomizationType = Literal["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"]
InferenceTypeSupported = Literal["ON_DEMAND", "PROVISIONED", "INFERENCE_PROFILE"]
ServesModel = Callable[["FoundationModel", str], bool]
"""Whether this installation serves a model in a Region."""

# Amazon's answers carry dates for every profile, our sources only for 26 of them. This one is not
# Amazon's: it stands before all observed dates, so the known ones keep their observed order.
_UNKNOWN_DATE = datetime(2024, 8, 1, tzinfo=UTC)

# `:200k` and `:512` of `cohere.embed-english-v3:0:512`: a context length in tokens.
_CONTEXT_SUFFIX = re.compile(r":\d+k$")
_DRAWS = re.compile("canvas|image-generator")

# Regions without an entry in the data share one index a name; callers choose the names.
_INDEXES_KEPT = 256


def _serves_nothing(_model: "FoundationModel", _region: str) -> bool:
    return False


class ProvisionedVariant(Struct, frozen=True, kw_only=True):
    """A model id that provisioned throughput can be bought for, often with a context length."""

    model_id: str
    foundation_model: str
    no_commitment: bool


class FoundationModel(Struct, frozen=True, kw_only=True):
    """A foundation model as one Region offers it."""

    model_id: str
    model_name: str
    provider_name: str
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    response_streaming_supported: bool
    customizations_supported: tuple[CustomizationType, ...]
    inference_types_supported: tuple[InferenceTypeSupported, ...]
    lifecycle_status: Literal["ACTIVE", "LEGACY"]
    mode: str | None = None
    """`chat`, `embedding`, `rerank`, …; None where the source does not say."""
    context_window: int | None = None
    max_output_tokens: int | None = None
    provisioned_variants: tuple[ProvisionedVariant, ...] = ()
    listed: bool = True
    """False: a profile or a provisioned id still names the model, Amazon's list no longer does."""
    base_model_id: str | None = None
    """What a custom model was made of."""

    @property
    def native_model_id(self) -> str:
        """Whose native bodies it takes: a custom model's are those of its base model."""
        return self.base_model_id or self.model_id

    @property
    def converses(self) -> bool:
        """Whether it takes text and answers in text alone: a model for Converse."""
        return (
            self.output_modalities == ("TEXT",)
            and "TEXT" in self.input_modalities
            and self.mode != "rerank"
        )

    @property
    def embeds(self) -> bool:
        return "EMBEDDING" in self.output_modalities

    @property
    def embeds_text(self) -> bool:
        """Whether text is most of what it is for: sound and film are another matter."""
        return self.embeds and {"TEXT"} <= set(self.input_modalities) <= {"TEXT", "IMAGE"}


class SystemProfile(Struct, frozen=True, kw_only=True):
    """A system-defined inference profile as one source Region offers it."""

    inference_profile_id: str
    inference_profile_name: str
    description: str
    created_at: datetime
    updated_at: datetime
    foundation_model: str
    model_arns: tuple[str, ...]


class CustomModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that the operator made out of one of the catalogue, in every account and Region."""

    custom_model_id: Annotated[str, Meta(pattern=r"\A[a-z0-9]{12}\Z")]
    """As in the ARN."""
    custom_model_name: str
    base_model_id: str

    def arn(self, partition: str, region: str, account_id: str) -> str:
        resource = f"custom-model/{self.base_model_id}/{self.custom_model_id}"
        return f"arn:{partition}:bedrock:{region}:{account_id}:{resource}"


class Catalogue:
    """Keeps an index of the package's data for each Region."""

    def __init__(
        self, *, serves: ServesModel = _serves_nothing, custom_models: Sequence[CustomModel] = ()
    ) -> None:
        self._serves = serves
        self._custom_models = {
            name: model
            for model in custom_models
            for name in (model.custom_model_id, model.custom_model_name)
        }
        self._index = lru_cache(maxsize=_INDEXES_KEPT)(self._build_index)

    def refresh(self) -> None:
        """What is served has changed: asked again, `serves` may say something else."""
        self._index.cache_clear()

    def foundation_models(self, region: str) -> Sequence[FoundationModel]:
        """What ListFoundationModels lists, ordered by id."""
        return tuple(self._index(region).listed_models.values())

    def listed_model(self, region: str, model_id: str) -> FoundationModel | None:
        """One of them. With a context length (`…:24k`) it can be bought, not called."""
        return self._index(region).listed_models.get(model_id)

    def foundation_model(self, region: str, model_id: str) -> FoundationModel | None:
        """Finds unlisted models too: profiles and provisioned throughput may still name them."""
        return self._index(region).models.get(model_id)

    def custom_model(self, region: str, identifier: str) -> CustomModel | None:
        """By id or name; its base model must be on offer in the Region."""
        found = self._custom_models.get(identifier)
        if found is None or self.foundation_model(region, found.base_model_id) is None:
            return None
        return found

    def provisioned_model(self, region: str, model_id: str) -> FoundationModel | None:
        """The model that `model_id`, with or without a context length, buys throughput for."""
        variant = self.provisioned_variant(region, model_id)
        return None if variant is None else self.foundation_model(region, variant.foundation_model)

    def provisioned_variant(self, region: str, model_id: str) -> ProvisionedVariant | None:
        """What `model_id`, with or without a context length, buys throughput for, if anything."""
        return self._index(region).provisioned_variants.get(model_id)

    def bought_model(self, region: str, model_arn: Arn) -> FoundationModel | None:
        """What answers for the model of a provisioned model.

        For a custom model that is its base model under the custom model's name.
        """
        if model_arn.resource_type != "custom-model":
            return self.provisioned_model(region, model_arn.resource_id)
        custom_model = self.custom_model(region, model_arn.resource_id.rpartition("/")[2])
        if custom_model is None:
            return None
        base = self.foundation_model(region, custom_model.base_model_id)
        if base is None:
            return None
        return msgspec.structs.replace(
            base, model_id=custom_model.custom_model_name, base_model_id=base.model_id
        )

    def system_profiles(self, region: str) -> Sequence[SystemProfile]:
        """Those callable from `region`, in Amazon's order: ascending `updated_at`, then id."""
        return self._index(region).listed_profiles

    def system_profile(self, region: str, inference_profile_id: str) -> SystemProfile | None:
        return self._index(region).profiles.get(inference_profile_id)

    def profile_with(self, region: str, model_arns: tuple[str, ...]) -> str | None:
        """The system-defined profile that an application profile was copied from; None: a model."""
        return self._index(region).profiles_by_models.get(model_arns)

    def model_anywhere(self, model_id: str) -> FoundationModel | None:
        """The model as such, where no Region is meant: a profile may lead to other Regions."""
        row = _rows().get(model_id)
        return None if row is None else _model(row, region="", served=False)

    @property
    def regions(self) -> Sequence[str]:
        """Those that offer a model or a profile, by name."""
        rows = (row.regions or () for row in _rows().values())
        sources = (row.destinations_by_source for row in _profile_rows())
        return sorted({region for names in (*rows, *sources) for region in names})

    def knows(self, model_id: str) -> bool:
        """Whether it is a foundation model of some Region, or a custom model's name."""
        custom_model = self._custom_models.get(model_id)
        return model_id in _rows() or (
            custom_model is not None and custom_model.custom_model_name == model_id
        )

    def may_have_price(self, name: str) -> bool:
        """Whether it is known, a context length of what is, or a profile of some Region."""
        return self.knows(without_context(name)) or any(row.id == name for row in _profile_rows())

    def _build_index(self, region: str) -> "_Index":
        models = {row.id: self._offered(row, region) for row in self._rows_of(region)}
        profiles = [_profile(row, region) for row in self._profile_rows_of(region)]
        profiles.sort(key=lambda profile: (profile.updated_at, profile.inference_profile_id))
        return _Index(
            models=models,
            listed_models={model.model_id: model for model in _listed(models.values())},
            provisioned_variants={
                variant.model_id: variant
                for model in models.values()
                for variant in model.provisioned_variants
            },
            profiles={profile.inference_profile_id: profile for profile in profiles},
            profiles_by_models={
                profile.model_arns: profile.inference_profile_id for profile in profiles
            },
            listed_profiles=tuple(profiles),
        )

    def _rows_of(self, region: str) -> "Iterator[_ModelRow]":
        return (row for row in _rows().values() if row.regions is None or region in row.regions)

    def _profile_rows_of(self, region: str) -> "Iterator[_ProfileRow]":
        return (row for row in _profile_rows() if region in row.destinations_by_source)

    def _offered(self, row: "_ModelRow", region: str) -> FoundationModel:
        model = _model(row, region, served=False)
        if self._serves(model, region) and (model.converses or model.embeds):
            return _model(row, region, served=True)
        return model


def without_context(model_id: str) -> str:
    """The foundation model of an id that may name a context length (`…:24k`), in any Region."""
    return _by_variant().get(model_id, model_id)


# What the package says is the same for every catalogue, and read once.


@cache
def _rows() -> "dict[str, _ModelRow]":
    file = msgspec.json.decode(_data("foundation-models.json"), type=_ModelFile)
    # Models of the Mantle endpoint alone are unknown to bedrock and bedrock-runtime.
    rows = {row.id: row for row in file.models if row.bedrock_runtime}
    rows.update((row.id, row) for row in _EMBEDDED)
    for row in _unlisted_rows(file, _profile_rows()):
        rows.setdefault(row.id, row)
    return dict(sorted(rows.items()))


@cache
def _by_variant() -> dict[str, str]:
    return {
        variant.id: row.id
        for row in _rows().values()
        for variant in row.provisioned_throughput_variants
    }


@cache
def _profile_rows() -> "tuple[_ProfileRow, ...]":
    return msgspec.json.decode(_data("system-profiles.json"), type=tuple[_ProfileRow, ...])


class _Index(Struct, frozen=True, kw_only=True):
    """One Region's view."""

    models: dict[str, FoundationModel]
    listed_models: dict[str, FoundationModel]
    provisioned_variants: dict[str, ProvisionedVariant]
    profiles: dict[str, SystemProfile]
    profiles_by_models: dict[tuple[str, ...], str]
    listed_profiles: tuple[SystemProfile, ...]


class _VariantRow(Struct, frozen=True):
    id: str
    regions: frozenset[str]
    no_commitment_base: bool


class _ModelRow(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    provider: str
    input_modalities: tuple[str, ...] = ("TEXT",)
    output_modalities: tuple[str, ...] = ("TEXT",)
    streaming: bool = True
    customizations: tuple[CustomizationType, ...] = ()
    inference_types: tuple[str, ...] = msgspec.field(default=(), name="inferenceTypes")
    regions: frozenset[str] | None = None
    """None: every Region."""
    on_demand_regions: frozenset[str] | None = None
    lifecycle: Literal["ACTIVE", "LEGACY"]
    bedrock_runtime: bool = True
    provisioned_throughput_variants: tuple[_VariantRow, ...] = ()
    mode: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    listed: bool = True


class _ModelFile(Struct, frozen=True):
    models: tuple[_ModelRow, ...]
    provisioned_throughput_model_ids: tuple[_VariantRow, ...]


class _ProfileRow(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    geography: str
    description: str
    foundation_model: str
    models: tuple[str, ...]
    destinations_by_source: dict[str, tuple[str, ...]]
    created_at: datetime | None = None
    updated_at: datetime | None = None


# Nobody shall take a small model for another: the name says what it is.
_EMBEDDED = (
    _ModelRow(
        id=EMBEDDED_MODEL_ID,
        name="SmolLM2 135M Instruct (135 million parameters, Apache-2.0)",
        provider="Outcrop",
        inference_types=("ON_DEMAND",),
        lifecycle="ACTIVE",
        mode="chat",
        context_window=8192,
        max_output_tokens=8192,
    ),
    _ModelRow(
        id=EMBEDDING_MODEL_ID,
        name="all-MiniLM-L6-v2 (22 million parameters, 384 dimensions, Apache-2.0)",
        provider="Outcrop",
        output_modalities=("EMBEDDING",),
        streaming=False,
        inference_types=("ON_DEMAND",),
        lifecycle="ACTIVE",
        mode="embedding",
        context_window=512,
    ),
)


def _data(name: str) -> bytes:
    return resources.files("outcrop.data").joinpath(name).read_bytes()


def _model(row: _ModelRow, region: str, *, served: bool) -> FoundationModel:
    variants = tuple(_variants(row, region, served=served))
    return FoundationModel(
        model_id=row.id,
        model_name=row.name,
        provider_name=row.provider,
        input_modalities=row.input_modalities,
        output_modalities=row.output_modalities,
        response_streaming_supported=row.streaming,
        customizations_supported=row.customizations,
        inference_types_supported=tuple(_inference_types(row, region, provisioned=bool(variants))),
        lifecycle_status=row.lifecycle,
        mode=row.mode,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        provisioned_variants=variants,
        listed=row.listed,
    )


def _inference_types(
    row: _ModelRow, region: str, *, provisioned: bool
) -> Iterator[InferenceTypeSupported]:
    on_demand = row.on_demand_regions is None or region in row.on_demand_regions
    if "ON_DEMAND" in row.inference_types and on_demand:
        yield "ON_DEMAND"
    if provisioned:
        yield "PROVISIONED"
    if "INFERENCE_PROFILE" in row.inference_types:
        yield "INFERENCE_PROFILE"


def _variants(row: _ModelRow, region: str, *, served: bool) -> Iterator[ProvisionedVariant]:
    """Amazon sells by Region and context length; what runs here can be bought, however named."""
    named = [v for v in row.provisioned_throughput_variants if served or region in v.regions]
    if row.listed and (served or named) and row.id not in {variant.id for variant in named}:
        free = all(variant.no_commitment_base for variant in named)
        named.insert(0, _VariantRow(row.id, regions=frozenset(), no_commitment_base=free))
    for variant in named:
        yield ProvisionedVariant(
            model_id=variant.id,
            foundation_model=row.id,
            no_commitment=variant.no_commitment_base,
        )


def _listed(models: Iterable[FoundationModel]) -> Iterator[FoundationModel]:
    """As Amazon lists them: a model, and beside it each context length that is sold."""
    for model in models:
        if model.listed:
            yield model
        for variant in model.provisioned_variants:
            if variant.model_id != model.model_id or not model.listed:
                yield msgspec.structs.replace(
                    model, model_id=variant.model_id, inference_types_supported=("PROVISIONED",)
                )


def _unlisted_rows(file: _ModelFile, profiles: tuple[_ProfileRow, ...]) -> Iterator[_ModelRow]:
    """Models that left Amazon's list while profiles or provisioned ids go on naming them."""
    providers = {row.id.partition(".")[0]: row.provider for row in file.models}
    profiled = {profile.foundation_model for profile in profiles}
    known = {variant.id for row in file.models for variant in row.provisioned_throughput_variants}
    variants: dict[str, tuple[_VariantRow, ...]] = dict.fromkeys(profiled, ())
    for variant in file.provisioned_throughput_model_ids:
        if variant.id not in known:
            model_id = _CONTEXT_SUFFIX.sub("", variant.id)
            variants[model_id] = (*variants.get(model_id, ()), variant)
    for model_id, named in variants.items():
        vendor, _, name = model_id.partition(".")
        yield _ModelRow(
            id=model_id,
            name=name,
            provider=providers[vendor],
            output_modalities=("IMAGE",) if _DRAWS.search(model_id) else ("TEXT",),
            inference_types=("INFERENCE_PROFILE",) if model_id in profiled else (),
            lifecycle="LEGACY",
            provisioned_throughput_variants=named,
            listed=False,
        )


def _profile(row: _ProfileRow, region: str) -> SystemProfile:
    created_at = row.created_at or _UNKNOWN_DATE
    return SystemProfile(
        inference_profile_id=row.id,
        inference_profile_name=row.name,
        description=row.description,
        created_at=created_at,
        updated_at=row.updated_at or created_at,
        foundation_model=row.foundation_model,
        model_arns=tuple(_model_arns(row, region)),
    )


def _model_arns(row: _ProfileRow, region: str) -> Iterator[str]:
    """In the order Amazon was seen to use; Regions it was not seen with come last.

    A global profile names the model without a Region, then in the source Region.
    """
    destinations = row.destinations_by_source[region]
    ordered = ["", region]
    if row.geography != "global":
        seen = [arn.split(":")[3] for arn in row.models]
        ordered = [name for name in seen if name in destinations]
        ordered += [name for name in destinations if name not in seen]
    for name in ordered:
        yield f"arn:{partition_of(region)}:bedrock:{name}::foundation-model/{row.foundation_model}"
