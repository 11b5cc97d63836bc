"""What an operator says about limits: records that refuse what they do not know."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Most = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Weight = Annotated[float, Meta(ge=0.001, le=1_000)]
Way = Literal["on_demand", "cross_region", "global"]
"""How the model was named: Amazon counts each by itself."""


class AdmissionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls may go ahead, and who goes first."""

    assumed_max_tokens: Positive = 1_024
    """Held for the output of a request that names no maximum."""
    queue_deadline_s: Seconds = 30
    """How long a call may wait for a model server."""
    spillover: bool = False
    """Whether calls above their model units go on as on-demand calls."""
    weights: dict[str, Weight] = {}
    """By account: its turns where others wait too."""


class QuotaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. The first whose patterns (`*`, `?`) match decides; what it leaves out is free."""

    account: str = "*"
    region: str = "*"
    """The source Region: the one that the request was signed for."""
    model: str = "*"
    """A foundation model's id."""
    way: Literal["*"] | Way = "*"
    tokens_per_minute: Most | None = None
    tokens_per_day: Most | None = None
    requests_per_minute: Most | None = None
    concurrent_requests: Most | None = None

    def applies_to(self, account_id: str, region: str, model_id: str, way: Way) -> bool:
        return (
            fnmatchcase(account_id, self.account)
            and fnmatchcase(region, self.region)
            and fnmatchcase(model_id, self.model)
            and self.way in {"*", way}
        )
