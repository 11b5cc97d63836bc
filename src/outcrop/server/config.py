"""What an operator decides: one frozen record, read once from TOML and the command line.

docs/configuration.md documents every key; tests/server/test_config.py compares the two.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from outcrop.counters.config import ValkeyConfig
from outcrop.fleet.config import (
    EmbeddedConfig,
    ModelServerConfig,
    ModelUnitsConfig,
    RoutingConfig,
)
from outcrop.iam.config import AccountConfig, check_accounts
from outcrop.metering.config import (
    AdmissionConfig,
    AuditConfig,
    BudgetConfig,
    InvocationLoggingConfig,
    MeteringConfig,
    MetricsConfig,
    Price,
    QuotaConfig,
    TelemetryConfig,
)
from outcrop.store.catalogue import Catalogue, CustomModel

DEFAULT_LISTEN = "127.0.0.1:8787"

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
R = TypeVar("R", bound=Struct)
Region = Annotated[str, Meta(pattern=r"\A[a-z]{2,8}(-[a-z]{1,16}){1,4}-[0-9]{1,2}\Z")]


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the file and the key."""


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client may ask of the server before anything is known about it."""

    max_body_bytes: Positive = 26_214_400  # InvokeModel's modelled maximum is 25,000,000
    max_buffered_bytes: Positive = 268_435_456  # bodies of all requests in progress in one worker
    max_header_bytes: Annotated[int, Meta(ge=1_024, le=262_144)] = 65_536  # a request's, in all
    max_uri_bytes: Annotated[int, Meta(ge=1_024, le=65_534)] = 16_384  # path and query
    receive_header_timeout_s: Seconds = 30  # also how long an idle HTTP/1.1 connection stays open
    http2_idle_timeout_s: Seconds = 300  # how long an HTTP/2 client may stay and ask nothing
    receive_body_timeout_s: Seconds = 60
    send_timeout_s: Seconds = 60  # how long a client may leave a stream unread
    max_connections: Positive = 1_024  # of one worker; further ones wait to be accepted
    # Of one source address in one worker: so many at once, and so many a minute. 0: no limit.
    failed_authentications: Annotated[int, Meta(ge=0)] = 100
    failed_authentications_per_minute: Positive = 60
    # The whole stop must end within ten seconds, so what drains has eight.
    drain_timeout_s: Annotated[float, Meta(ge=0, le=8)] = 8

    @property
    def shortest_s(self) -> float:
        """Of the times that are kept by looking now and then."""
        return min(
            self.receive_header_timeout_s,
            self.http2_idle_timeout_s,
            self.receive_body_timeout_s,
            self.send_timeout_s,
        )


class TlsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the port. With neither a word nor a certificate, there is none."""

    enabled: bool | None = None  # None: when certificate_file is given
    certificate_file: Path | None = None  # PEM, with its chain; None: one of the local CA
    key_file: Path | None = None  # PEM; None: the key is in certificate_file
    client_ca_file: Path | None = None  # PEM; None: clients are not asked for a certificate
    client_auth: Literal["optional", "required"] = "required"  # where client_ca_file is given

    def __post_init__(self) -> None:
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("tls.key_file is of no use without tls.certificate_file")
        if self.client_ca_file is not None and not self.serves:
            raise ValueError("tls.client_ca_file is of no use without tls.enabled = true")

    @property
    def serves(self) -> bool:
        """Whether clients are to speak TLS."""
        return self.certificate_file is not None if self.enabled is None else self.enabled

    @property
    def local(self) -> bool:
        """Whether the certificate is one that this installation made."""
        return self.serves and self.certificate_file is None


class InferenceProfilesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    quota: Positive = 1_000  # application profiles of one account and Region
    list_without_type: Literal["all", "system_defined"] = "all"


class ProvisionedThroughputConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    quota: Positive = 1_000  # provisioned models of one account and Region
    model_units_quota: Positive = 1_000  # model units of one provisioned model
    creating_s: Annotated[float, Meta(ge=0, le=86_400)] = 5  # how long Creating lasts
    updating_s: Annotated[float, Meta(ge=0, le=86_400)] = 5  # how long Updating lasts
    require_declared_units: bool = False  # sell only what model servers say they sustain


def default_state() -> Path:
    return _base_folder("XDG_STATE_HOME", ".local/state") / "outcrop"


def default_cache() -> Path:
    return _base_folder("XDG_CACHE_HOME", ".cache") / "outcrop"


def _base_folder(variable: str, in_home: str) -> Path:
    """A base folder of the XDG specification, which ignores relative ones."""
    base = Path(os.environ.get(variable, ""))
    return base if base.is_absolute() else Path.home() / in_home


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: str = DEFAULT_LISTEN  # address:port; port 0 takes a free one
    allow_remote: bool = False  # listen on other addresses than loopback, without TLS
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks; X-Forwarded-For is believed
    state: Path = field(default_factory=default_state)  # a folder, made with mode 0700
    cache: Path = field(default_factory=default_cache)  # a folder; for the embedded model's weights
    workers: Annotated[int, Meta(ge=1, le=256)] = 1  # processes
    region: Region = "us-east-1"  # what `outcrop env` exports
    database_url: str | None = None  # postgresql://…; none: SQLite in the state folder
    valkey: ValkeyConfig = field(default_factory=ValkeyConfig)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tls: TlsConfig = field(default_factory=TlsConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    inference_profiles: InferenceProfilesConfig = field(default_factory=InferenceProfilesConfig)
    provisioned_throughput: ProvisionedThroughputConfig = field(
        default_factory=ProvisionedThroughputConfig
    )
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    quotas: tuple[QuotaConfig, ...] = ()
    custom_models: tuple[CustomModel, ...] = ()
    embedded: EmbeddedConfig = field(default_factory=EmbeddedConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    model_servers: tuple[ModelServerConfig, ...] = ()
    model_units: tuple[ModelUnitsConfig, ...] = ()
    metering: MeteringConfig = field(default_factory=MeteringConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    invocation_logging: InvocationLoggingConfig = field(default_factory=InvocationLoggingConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    prices: tuple[Price, ...] = ()
    budgets: tuple[BudgetConfig, ...] = ()
    accounts: tuple[AccountConfig, ...] = ()

    def __post_init__(self) -> None:
        for key, listen in (("listen", self.listen), ("metrics.listen", self.metrics.listen)):
            if listen is not None:
                self._require_reachable_by_choice(key, listen)
        for proxy in self.trusted_proxies:
            _require_network(proxy)
        if self.database_url is not None:
            _require_postgresql(self.database_url)
        _check_budgets(self.budgets, metered=self.metering.enabled)
        _check_prices(self.prices, Catalogue(custom_models=self.custom_models))
        self.require_one_count(limits_configured=bool(self.quotas or self.model_units))
        self._require_slots_for_each_worker()
        check_accounts(self.accounts)

    def _require_reachable_by_choice(self, key: str, listen: str) -> None:
        host, _ = split_address(listen)
        if not (self.allow_remote or self.tls.serves or is_loopback(host)):
            raise ValueError(REMOTE_REFUSED.format(key=key, host=host))

    def require_one_count(self, *, limits_configured: bool) -> None:
        """Raises ValueError where each worker would grant every limit by itself."""
        if limits_configured and self.workers > 1 and self.valkey.url is None:
            raise ValueError(COUNTS_APART.format(workers=self.workers))

    def _require_slots_for_each_worker(self) -> None:
        if self.valkey.url is not None:
            return
        for server in self.model_servers:
            if server.max_concurrency is not None and server.max_concurrency < self.workers:
                raise ValueError(
                    TOO_FEW_SLOTS.format(
                        name=server.name, most=server.max_concurrency, workers=self.workers
                    )
                )

    @property
    def journal_folder(self) -> Path:
        """Where each worker writes down what was used."""
        return self.state / "journal"

    @property
    def invocation_log_folder(self) -> Path:
        """Where what was said waits for its delivery."""
        return self.state / "invocation-log"

    @property
    def sqlite_path(self) -> Path:
        return self.state / "outcrop.sqlite3"

    @property
    def units_path(self) -> Path:
        """What `outcrop calibrate` measured."""
        return self.state / "units.toml"

    @property
    def stands_in(self) -> bool:
        """Whether the embedded model answers for every text model of the catalogue."""
        stand_in = self.embedded.stand_in
        return self.embedded.enabled and (not self.model_servers if stand_in is None else stand_in)


REMOTE_REFUSED = (
    "{key} = {host} is not a loopback address, and requests would cross the network unencrypted; "
    "serve with TLS (--tls, or tls.certificate_file), or "
    "set allow_remote = true (or --allow-remote) if that network is trusted or TLS ends before it"
)

COUNTS_APART = (
    "workers = {workers} would each count for themselves, and grant every configured limit"
    " {workers} times; set valkey.url, so that they count together, or workers = 1"
)

TOO_FEW_SLOTS = (
    "model server {name}: max_concurrency = {most} cannot be split among workers = {workers};"
    " set valkey.url, so that they share it"
)


def load_config(path: Path | None, overrides: Mapping[str, object]) -> Config:
    """The file's settings, if there is one, with the command line's on top, key by key."""
    settings = _merged(read_toml(path) if path else {}, overrides)
    return converted(settings, Config, path)


def converted(settings: Mapping[str, object], kind: type[R], path: Path | None) -> R:
    """Raises ConfigurationError with the name of the key that is wrong in the file."""
    try:
        return msgspec.convert(settings, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        where = f"{path}: " if path else ""
        raise ConfigurationError(f"{where}{_worded(str(error))}") from error


def _merged(settings: Mapping[str, Any], overrides: Mapping[str, object]) -> dict[str, object]:
    merged = {**settings, **overrides}
    for name, table in overrides.items():
        if isinstance(table, Mapping) and isinstance(settings.get(name), Mapping):
            merged[name] = {**settings[name], **table}
    return merged


def _worded(refusal: str) -> str:
    """The words of msgspec with the key in front: "unknown key `limits.max_bdy_bytes`"."""
    unknown = _UNKNOWN_KEY.fullmatch(refusal)
    if unknown:
        return (
            f"unknown key `{unknown['path'] or ''}{'.' if unknown['path'] else ''}{unknown['key']}`"
        )
    elsewhere = _AT_KEY.fullmatch(refusal)
    return f"`{elsewhere['path']}`: {elsewhere['what']}" if elsewhere else refusal


_UNKNOWN_KEY = re.compile(
    r"Object contains unknown field `(?P<key>.*?)`(?: - at `\$\.(?P<path>.*)`)?"
)
_AT_KEY = re.compile(r"(?P<what>.*) - at `\$\.(?P<path>.*)`", re.DOTALL)


def split_address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8787`, `localhost:8787`, `[::1]:8787` → host and port."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"listen = {listen!r} is not address:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """Where a client on this machine reaches a server that listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return (
        f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
    )


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def _require_network(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError:
        raise ValueError(
            f"trusted_proxies: {proxy!r} is no address and no network such as 10.0.0.0/8"
        ) from None


def _check_budgets(budgets: Sequence[BudgetConfig], *, metered: bool) -> None:
    names = [budget.name for budget in budgets]
    if len(set(names)) < len(names):
        raise ValueError("two [[budgets]] have the same name")
    if budgets and not metered:
        raise ValueError("[[budgets]] need metering.enabled = true: nothing is known to be spent")


def _check_prices(prices: Sequence[Price], catalogue: Catalogue) -> None:
    unknown = {row.model: None for row in prices if not catalogue.may_have_price(row.model)}
    if unknown:
        raise ValueError(
            f"prices: no model of the catalogue and no system-defined profile: {', '.join(unknown)}"
        )


def _require_postgresql(url: str) -> None:
    if not url.startswith(("postgresql://", "postgres://")):
        scheme = url.partition(":")[0]
        raise ValueError(f"database_url begins with {scheme!r}, not with postgresql://")
