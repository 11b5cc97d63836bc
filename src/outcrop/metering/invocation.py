"""One invocation of a model: what is known of it, from the moment it is asked for to its end."""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct, field

from outcrop.iam.caller import Caller
from outcrop.wire.shapes.bedrock_runtime import TokenUsage


class ModelInvocation(Struct, kw_only=True):
    """Made by the edge of the runtime for each call; who learns something of it writes it down."""

    request_id: str
    operation: str
    caller: Caller
    began_at: datetime
    headers: Mapping[str, str]
    """The request's, in lower case, as received."""
    body_bytes: int = 0
    """Length of the request's body."""
    model_id: str | None = None
    """As the caller wrote it."""
    target: object = None
    """What the model id stands for, once that is known (runtime/target.py)."""
    foundation_model_id: str | None = None
    inference_profile_arn: str | None = None
    provisioned_model_arn: str | None = None
    service_tier: str | None = None
    """As the caller asked for it; None: `default`."""
    spilled_over: bool = False
    """Whether its model units were used up and it went on as an on-demand call."""
    served_by: str | None = None
    """Who answers, as the header says it: `gpu-1; model="llama"`."""
    inference_region: str | None = None
    """Where it is answered; the caller's Region for a server that has none."""
    skipped: list[str] = field(default_factory=list[str])
    """Who was passed over, and why: `gpu-1: timed out`, `us-east-1: no room`."""
    first_event_at: datetime | None = None
    usage: TokenUsage | None = None
    """Known when the answer is complete, as the caller is told. A broken stream ends without it."""
    estimate: Callable[[], TokenUsage] | None = None
    """What an answer that broke off has used, by its text; there since a model server answered."""
    profile_id: str | None = None
    """Of the system-defined profile, whether called itself or copied by an application's."""
    tags: tuple[tuple[str, str], ...] = ()
    """Of the application profile or provisioned model, when the call began."""
    request_metadata: Mapping[str, str] | None = None
    resolved_service_tier: str | None = None
    streamed: bool = False
    recorded: bool = False
    """Whether the ledger has it."""
