"""What an operator says about model servers: records that refuse what they do not know."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Positive = Annotated[int, Meta(ge=1)]
Dialect = Literal["openai", "anthropic", "bedrock", "embedded"]
# RFC 9110's token, without what a request's framing is made of.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class TimeoutsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    """From sending a request until the first byte of its answer: a long prompt takes time."""
    between_chunks_s: Seconds = 60.0
    total_s: Seconds = 3_600.0
    """From sending a request until the end of its answer. Amazon ends the longest after an hour."""


class TlsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ca_file: str | None = None
    """PEM. In place of the certificate authorities that the machine trusts."""
    certificate_file: str | None = None
    """PEM, with the chain: who we are, for servers that ask."""
    key_file: str | None = None
    """Without one, the key is in `certificate_file`."""
    insecure_skip_verify: bool = False
    """Believe any certificate: whoever is in between can read and change everything."""

    def __post_init__(self) -> None:
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file goes with a certificate_file, and there is none")
        if self.insecure_skip_verify and self.ca_file is not None:
            raise ValueError("insecure_skip_verify = true would leave ca_file without effect")


class CapabilitiesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server can do, where it is not what its dialect's servers usually can."""

    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    completions: bool | None = None
    prefill: bool | None = None


class AwsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In whose name Amazon is asked, for the dialect `bedrock` without an API key."""

    signing_region: str | None = None
    """For a url that does not name one."""
    access_key_id_env: str = "AWS_ACCESS_KEY_ID"
    secret_access_key_env: str = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
    session_token_env: str = "AWS_SESSION_TOKEN"  # noqa: S105 - likewise
    profile: str | None = None
    """A section of a shared credentials file, in place of the variables."""
    credentials_file: str | None = None
    """In place of `AWS_SHARED_CREDENTIALS_FILE`, or `~/.aws/credentials`."""

    def __post_init__(self) -> None:
        if self.credentials_file is not None and self.profile is None:
            raise ValueError("aws.credentials_file goes with an aws.profile, and there is none")


class ModelUnitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model unit of a model is."""

    model: str
    region: str | None = None
    """Without one: in every Region that has no table of its own."""
    input_tokens_per_minute: Positive
    output_tokens_per_minute: Positive


class ModelServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
    """Appears in the `x-outcrop-served-by` header and in the log."""
    url: Annotated[str, Meta(pattern=r"\Ahttps?://[^/]+.*[^/]\Z")]
    """Up to and without `/chat/completions`: `http://127.0.0.1:8000/v1`."""
    dialect: Dialect = "openai"
    region: str | None = None
    """Where it stands; without one it belongs to every Region."""
    weight: Annotated[float, Meta(gt=0, le=1_000)] = 1.0
    """Its share of the requests, beside its peers': one of 2.0 is given twice as many."""
    models: Annotated[dict[str, str], Meta(min_length=1)] = {}
    """Foundation model id to the model's name on that server."""
    discover: bool = False
    """Ask the server which models it has, and serve those that have a foundation model's id."""
    discover_every_s: Seconds = 60.0
    api_key_env: str | None = None
    """Name of the environment variable that holds its key."""
    api_key_file: str | None = None
    headers: dict[str, str] = {}
    """Sent with every request."""
    header_env: dict[str, str] = {}
    """As `headers`, for secrets: header to the environment variable that holds its value."""
    max_concurrency: Positive | None = None
    """Requests it is given at once; further ones go to another server, or wait."""
    model_units: dict[str, Annotated[int, Meta(ge=0)]] = {}
    """Foundation model id to the units that it sustains when it serves nothing else."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    tls: TlsConfig = TlsConfig()
    aws: AwsConfig = AwsConfig()
    capabilities: CapabilitiesConfig = CapabilitiesConfig()

    def __post_init__(self) -> None:
        """What one key says of another; the keys by themselves are the types' business."""
        if not (self.models or self.discover):
            raise ValueError("models names no model, and discover is not true")
        strange = sorted(set(self.model_units) - set(self.models))
        if strange and not self.discover:
            raise ValueError(f"model_units names {strange[0]}, which models does not")
        if self.discover and self.dialect == "bedrock":
            raise ValueError("discover asks /models, which the dialect bedrock does not have")
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("api_key_env and api_key_file are both given")
        if self.aws != AwsConfig() and self.dialect != "bedrock":
            raise ValueError("aws is for the dialect bedrock")
        if self.tls != TlsConfig() and not self.url.startswith("https://"):
            raise ValueError("tls is set up for a url that is not https")
        _check_headers([*self.headers, *self.header_env])


def _check_headers(names: Sequence[str]) -> None:
    lowered = [name.lower() for name in names]
    for name in names:
        if name.lower() in _FRAMING or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} cannot be set")
        if lowered.count(name.lower()) > 1:
            raise ValueError(f"headers: {name!r} is given twice")


class RoutingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a request finds its server."""

    failover_deadline_s: Seconds = 150.0
    """From the request's start: no other server is tried after that."""
    consecutive_failures: Positive = 3
    """So many in a row eject a server."""
    ejection_s: Seconds = 5.0
    """How long the first time; each time soon after it twice as long."""
    longest_ejection_s: Seconds = 300.0
    latency_outlier_factor: Annotated[float, Meta(ge=2)] = 8.0
    """Who takes so many times its peers' time to the first byte is ejected."""
    affinity_entries: Annotated[int, Meta(ge=0)] = 100_000
    """Conversations remembered, of each worker; 0: none."""
    affinity_load_factor: Annotated[float, Meta(ge=1)] = 2.0
    """A conversation leaves its server when that is loaded so many times as its peers."""


class EmbeddedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool = True
    start: Literal["first_use", "at_start"] = "first_use"
    model_path: str | None = None
    """A GGUF file of your own in place of the model that Outcrop fetches."""
    threads: Annotated[int, Meta(ge=1)] | None = None
    """Without a number: the cores of this machine less one, at least one."""
    context_tokens: Annotated[int, Meta(ge=512)] = 8192
    """Shared by all requests in progress."""
    slots: Annotated[int, Meta(ge=1, le=64)] = 4
    """Requests answered at the same time; others wait."""
    stand_in: bool | None = None
    """Answer for every text model that no server serves. Unsaid: only while no server is named."""


class InvalidFleetConfigError(Exception):
    """The configuration is well-formed but cannot be followed; the text says what to change."""
