"""What follows the configuration file while the server runs; anything else is read at the start."""

from collections.abc import Iterator
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import asdict, replace

from outcrop.server.config import Config

R = TypeVar("R", bound=Struct)

FOLLOWED = frozenset(
    {
        "accounts",
        "model_servers",
        "model_units",
        "admission",
        "quotas",
        "custom_models",
        "embedded.stand_in",
        "inference_profiles",
        "provisioned_throughput",
        "routing",
        "metering.when_unwritable",
        "metering.keep_records_days",
        "metering.keep_minutes_days",
        "metering.keep_hours_days",
        "metering.most_series",
        "prices",
        "tls.certificate_file",
        "tls.key_file",
        "tls.client_ca_file",
        "tls.client_auth",
        "budgets",
    }
)


def followed(before: R, after: R, prefix: str = "") -> R:
    """`before`, but for what follows the file: that is as `after` has it.

    Raises ValueError where the two do not go together.
    """
    values: dict[str, object] = {}
    for name in before.__struct_fields__:
        key, old, new = f"{prefix}{name}", getattr(before, name), getattr(after, name)
        if key in FOLLOWED:
            values[name] = new
        elif isinstance(old, Struct):
            values[name] = followed(old, new, f"{key}.")
    return replace(before, **values)


def changed_keys(before: Config, after: Config) -> Iterator[str]:
    """The dotted names of what only a restart follows, where it differs."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return (name for name, value in new.items() if value != old[name])


def _leaves(record: Struct, prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in asdict(record).items():
        key = f"{prefix}{name}"
        if key in FOLLOWED:
            continue
        if isinstance(value, Struct):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
