"""People, policies and requests to try the language on."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from outcrop.iam.caller import Caller
from outcrop.iam.policy.document import PolicyKind, parse
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import AttachedPolicy

ACCOUNT = "123456789012"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/App"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/App/worker-1"
USER = f"arn:aws:iam::{ACCOUNT}:user/team/alice"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def caller(arn: str, *, region: str = "us-east-1") -> Caller:
    return Caller(
        account_id=ACCOUNT, arn=arn, user_id="AIDAEXAMPLE", region=region, partition="aws"
    )


def user(*, region: str = "us-east-1", **tags: str) -> Principal:
    return Principal(caller=caller(USER, region=region), tags=tags)


def session(**tags: str) -> Principal:
    return Principal(caller=caller(SESSION), issuer_arn=ROLE, tags=tags, token_issued_at=NOW)


def root() -> Principal:
    return Principal(caller=caller(ROOT))


def text(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def statements(*given: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(given)}


def attached(
    document: Any, kind: PolicyKind = "identity-based policy", *, name: str = "Example"
) -> AttachedPolicy:
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    return AttachedPolicy(
        name=name, arn=arn, policy=parse(text(document), kind, most_characters=20_480)
    )
