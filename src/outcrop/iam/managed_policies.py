"""Managed policies of AWS's own: those that speak of Bedrock, and two for job functions."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

PREFIX = "arn:aws:iam::aws:policy/"


class _Published(Struct, frozen=True):
    """As the AWS Managed Policy Reference had it."""

    version: str
    edited: str
    source: str
    document: msgspec.Raw


def is_of_aws(policy: str) -> bool:
    """Whether that is an ARN of AWS's, rather than the name of an account's own policy."""
    return policy.startswith("arn:")


def document_of(arn: str) -> str | None:
    """None: AWS has no such policy, or none that is known here."""
    published = _published().get(arn.removeprefix(PREFIX)) if arn.startswith(PREFIX) else None
    return None if published is None else bytes(published.document).decode()


def known_arns() -> list[str]:
    return [PREFIX + name for name in _published()]


@cache
def _published() -> Mapping[str, _Published]:
    data = files("outcrop.data").joinpath("aws-managed-policies.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, _Published])
