"""One invocation of a model: what is known of it, from the moment it is asked for to its end."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from outcrop.fleet.trace import Trace
from outcrop.iam.caller import Caller
from outcrop.metering.quotas import Quota
from outcrop.store.usage_records import Outcome
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import TokenUsage


class End(NamedTuple):
    outcome: Outcome
    status: int
    error: str | None


SUCCESS = End("success", 200, None)


class Wanted(Struct, frozen=True, kw_only=True, gc=False):
    """What an account wants of what is said."""

    owner: bytes
    """Whose record it will be, as the log writes it."""
    texts: bool
    embeddings: bool
    """Of those that answer: vectors."""


class Logged:
    """What was said, kept until it is logged."""

    __slots__ = ("events", "input_body", "output_body", "wanted")

    def __init__(self, wanted: Wanted, input_body: bytes, output_body: bytes | None = None) -> None:
        self.wanted = wanted
        self.input_body = input_body
        self.output_body = output_body
        self.events: list[bytes] = []
        """Of a stream; JSON."""


class ModelInvocation:
    """Made by the edge of the runtime for each call; who learns something of it writes it down.

    No record of msgspec: one is read slowly by what is compiled, and this is read everywhere.
    """

    __slots__ = (
        "access_key_id",
        "audited",
        "began_at",
        "body_bytes",
        "bought",
        "budget",
        "caller",
        "embeds",
        "end",
        "error",
        "estimate",
        "first_event_at",
        "foundation_model_id",
        "headers",
        "held",
        "inference_profile_arn",
        "inference_region",
        "logged",
        "model_id",
        "observed",
        "operation",
        "profile_id",
        "provisioned_model_arn",
        "request_id",
        "request_metadata",
        "resolved_service_tier",
        "served_by",
        "service_tier",
        "skipped",
        "source_address",
        "spilled_over",
        "streamed",
        "tags",
        "target",
        "trace",
        "units_per_minute",
        "usage",
    )

    def __init__(  # noqa: PLR0915 - most of it nobody knows yet
        self,
        request_id: str,
        operation: str,
        caller: Caller,
        began_at: datetime,
        headers: Mapping[str, str],
    ) -> None:
        self.request_id = request_id
        self.operation = operation
        self.caller = caller
        self.began_at = began_at
        self.headers = headers
        """The request's, in lower case, as received."""
        self.access_key_id: str | None = None
        """Of the request's signature."""
        self.source_address = ""
        """Whom it comes from; empty where nobody knows."""
        self.body_bytes = 0
        """Length of the request's body."""
        self.model_id: str | None = None
        """As the caller wrote it."""
        self.target: object = None
        """What the model id stands for, once that is known (runtime/target.py)."""
        self.foundation_model_id: str | None = None
        self.inference_profile_arn: str | None = None
        self.provisioned_model_arn: str | None = None
        self.service_tier: str | None = None
        """As the caller asked for it; None: `default`."""
        self.units_per_minute: tuple[int, int] | None = None
        """Tokens, in and out, that its model units are good for; None where nobody said so."""
        self.spilled_over = False
        """Whether its model units were used up and it went on as an on-demand call."""
        self.budget: str | None = None
        """The budget that is nearest to its end, if it is time to say so."""
        self.served_by: str | None = None
        """Who answers, as the header says it: `gpu-1; model="llama"`."""
        self.inference_region: str | None = None
        """Where it is answered; the caller's Region for a server that has none."""
        self.skipped: list[str] = []
        """Who was passed over, and why: `gpu-1: timed out`, `us-east-1: no room`."""
        self.first_event_at: datetime | None = None
        self.usage: TokenUsage | None = None
        """Known when the answer is complete, as the caller is told; never of a broken stream."""
        self.estimate: Callable[[], TokenUsage] | None = None
        """What an answer that broke off has used, by its text; since a model server answered."""
        self.profile_id: str | None = None
        """Of the system-defined profile, whether called itself or copied by an application's."""
        self.tags: tuple[tuple[str, str], ...] = ()
        """Of the application profile or provisioned model, when the call began."""
        self.request_metadata: Mapping[str, str] | None = None
        self.resolved_service_tier: str | None = None
        self.streamed = False
        self.embeds = False
        """Whether the answer is embeddings."""
        self.logged: Logged | None = None
        """What its log record will hold, where the account wants one."""
        self.end: End | None = None
        """As the ledger has it; None: it has not ended, or nothing is written of it."""
        self.error: AwsError | None = None
        """As the audit trail tells it, when it has ended."""
        self.audited = False
        """Whether the audit trail has it."""
        self.observed = False
        """Whether those who only watch were told of its end."""
        self.bought: Sequence[Quota] = ()
        """What its provisioned model's units give; empty where they are not limited."""
        self.trace: Trace | None = None
        """Who follows it from server to server; None: nobody."""
        self.held: Callable[[], None] | None = None
        """Gives back what is held of budgets: what it cost counts when it is recorded."""

    def give_back(self) -> None:
        """Nothing happens a second time."""
        if self.held is not None:
            held, self.held = self.held, None
            held()
