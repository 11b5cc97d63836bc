"""One invocation of a model: what is known of it, from the moment it is asked for to its end."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from outcrop.fleet.trace import Trace
from outcrop.iam.caller import Caller
from outcrop.metering.quotas import Quota
from outcrop.wire.shapes.bedrock_runtime import TokenUsage


class Wanted(Struct, frozen=True, kw_only=True, gc=False):
    """What an account wants of what is said."""

    owner: bytes
    """Whose record it will be, as the log writes it."""
    texts: bool
    embeddings: bool
    """Of those that answer: vectors."""


class Logged(Struct, kw_only=True):
    """What was said, kept until it is logged."""

    wanted: Wanted
    input_body: bytes
    output_body: bytes | None = None
    events: list[bytes] = []
    """Of a stream; JSON."""


class ModelInvocation(Struct, kw_only=True):
    """Made by the edge of the runtime for each call; who learns something of it writes it down."""

    request_id: str
    operation: str
    caller: Caller
    began_at: datetime
    headers: Mapping[str, str]
    """The request's, in lower case, as received."""
    access_key_id: str | None = None
    """Of the request's signature."""
    source_address: str = ""
    """Whom it comes from; empty where nobody knows."""
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
    units_per_minute: tuple[int, int] | None = None
    """Tokens, in and out, that its model units are good for; None where nobody said so."""
    spilled_over: bool = False
    """Whether its model units were used up and it went on as an on-demand call."""
    budget: str | None = None
    """The budget that is nearest to its end, if it is time to say so."""
    served_by: str | None = None
    """Who answers, as the header says it: `gpu-1; model="llama"`."""
    inference_region: str | None = None
    """Where it is answered; the caller's Region for a server that has none."""
    skipped: list[str] = []
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
    embeds: bool = False
    """Whether the answer is embeddings."""
    logged: Logged | None = None
    """What its log record will hold, where the account wants one."""
    recorded: bool = False
    """Whether the ledger has it."""
    audited: bool = False
    """Whether the audit trail has it."""
    observed: bool = False
    """Whether those who only watch were told of its end."""
    bought: Sequence[Quota] = ()
    """What its provisioned model's units give; empty where they are not limited."""
    trace: Trace | None = None
    """Who follows it from server to server; None: nobody."""
    held: Callable[[], None] | None = None
    """Gives back what is held of budgets: what it cost counts when it is recorded."""

    def give_back(self) -> None:
        """Nothing happens a second time."""
        if self.held is not None:
            held, self.held = self.held, None
            held()
