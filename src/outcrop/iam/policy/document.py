"""A policy document: parsed, or refused as IAM would, with the reason and the place."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import UNSET, Struct

from outcrop.iam.policy import grammar
from outcrop.iam.policy.conditions import Condition, UnknownOperatorError, condition
from outcrop.iam.policy.grammar import Document, malformed
from outcrop.iam.policy.patterns import Template, arn_test, caseless_test, is_fixed, template
from outcrop.iam.policy.principal import Principals
from outcrop.iam.policy.statement import Actions, Resources, Statement

PolicyKind: TypeAlias = Literal[
    "identity-based policy",
    "permissions boundary",
    "session policy",
    "service control policy",
    "resource-based policy",
    "role trust policy",
]
"""As Amazon's denials call it."""

MOST_CHARACTERS: Mapping[PolicyKind, int] = {
    "identity-based policy": 6_144,
    "permissions boundary": 6_144,
    "session policy": 2_048,
    "service control policy": 10_240,
    "resource-based policy": 20_480,
    "role trust policy": 2_048,
}
"""White space not counted (quotas of IAM, Organizations and Bedrock)."""

INLINE_OF_USER, INLINE_OF_GROUP, INLINE_OF_ROLE = 2_048, 5_120, 10_240
"""The same, of all inline policies of one identity together."""

_LEGACY = "The policy failed legacy parsing"
_SYNTAX = "Syntax errors in policy."
_WITH_PRINCIPAL = frozenset({"resource-based policy", "role trust policy"})
_PARTITIONS = frozenset(
    {"*", "aws", "aws-cn", "aws-eusc", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e"}
    | {"aws-iso-f"}
)
_SID = re.compile(r"[0-9A-Za-z]*")
_VENDOR = re.compile(r"[a-zA-Z0-9\-.]+|\*")
_PRINCIPAL = re.compile(
    r"\*|\d{12}|arn:aws[a-z-]*:(?:iam|sts)::\d{12}"
    r":(?:root|(?:user|role|assumed-role|federated-user)/[\w+=,.@/-]+)",
    re.ASCII,
)
_VARIABLE = re.compile(r"\$\{[^}]*\}")


class Policy(Struct, frozen=True, kw_only=True):
    kind: PolicyKind
    statements: tuple[Statement, ...]


def parse(text: str, kind: PolicyKind, *, most_characters: int | None = None) -> Policy:
    """Raises MalformedPolicyDocument: the first complaint, in the order of IAM's checks."""
    document = grammar.decoded(text, most_characters=most_characters or MOST_CHARACTERS[kind])
    _check_version(document, kind)
    variables = document.version == "2012-10-17"
    conditions = _check_legacy(document, variables=variables)
    _check_sids(document, kind)
    principals = [_principals(kind, place, given) for place, given in document.statements]
    for check in (_check_presence, _check_arns, _check_vendors):
        for place, given in document.statements:
            check(place, given, kind)
    statements = zip(document.statements, conditions, principals, strict=True)
    return Policy(
        kind=kind,
        statements=tuple(
            Statement(
                label=given.sid or place.removeprefix("$."),
                effect="Allow" if given.effect == "Allow" else "Deny",
                actions=_actions(place, given),
                resources=_resources(place, given, variables=variables),
                conditions=met,
                principals=named,
            )
            for (place, given), met, named in statements
        ),
    )


def _check_version(document: Document, kind: PolicyKind) -> None:
    if document.version != "2012-10-17" and kind not in _WITH_PRINCIPAL:
        raise malformed("Policy document must be version 2012-10-17 or greater.", "$.Version")


def _check_legacy(document: Document, *, variables: bool) -> Sequence[tuple[Condition, ...]]:
    """The conditions of each statement."""
    for place, given in document.statements:
        if given.effect not in {"Allow", "Deny"}:
            raise malformed(_LEGACY, f"{place}.Effect", "It is Allow or Deny, in this case")
    conditions = [
        tuple(_conditions(place, given, variables=variables))
        for place, given in document.statements
    ]
    for place, given in document.statements:
        for where, arn in grammar.resources(place, given).values:
            _check_arn_parts(arn, where)
    return conditions


def _conditions(place: str, given: grammar.Statement, *, variables: bool) -> Iterator[Condition]:
    for found in grammar.conditions(place, given):
        try:
            yield condition(found.operator, found.key, found.values, variables=variables)
        except UnknownOperatorError as error:
            raise malformed(_SYNTAX, found.place, f"{error}") from error
        except ValueError as error:
            raise malformed(_LEGACY, found.place, f"{error}") from error


def _check_arn_parts(text: str, place: str) -> None:
    parts = _VARIABLE.sub("$", text).split(":", 5)
    if len(parts) < 2 or parts[1] not in _PARTITIONS:
        return
    if 3 < len(parts) < 6:
        raise malformed(_LEGACY, place, "An ARN has six parts")
    if any("$" in part for part in parts[:5]):
        raise malformed(_LEGACY, place, "Variables stand in an ARN after the fifth colon only")


def _check_sids(document: Document, kind: PolicyKind) -> None:
    seen: set[str] = set()
    for place, given in document.statements:
        sid = given.sid or ""
        if sid in seen:
            raise malformed(
                "Statement IDs (SID) in a single policy must be unique.", f"{place}.Sid"
            )
        if kind != "resource-based policy" and not _SID.fullmatch(sid):
            raise malformed(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the"
                " regular expression [0-9A-Za-z]*",
                f"{place}.Sid",
            )
        seen |= {sid} - {""}


def _check_presence(place: str, given: grammar.Statement, kind: PolicyKind) -> None:
    actions, resources = grammar.actions(place, given), grammar.resources(place, given)
    if not actions.values:
        raise malformed("Policy statement must contain actions.", actions.place)
    if kind == "role trust policy" and resources.values:
        raise malformed("Has prohibited field Resource", resources.place)
    if kind != "role trust policy" and not resources.values:
        raise malformed("Policy statement must contain resources.", resources.place)


def _check_arns(place: str, given: grammar.Statement, _: PolicyKind) -> None:
    for where, arn in grammar.resources(place, given).values:
        head, colon, rest = arn.partition(":")
        partition, *parts = rest.split(":", 4)
        if head == "*" and not colon:
            continue
        if not colon:
            raise malformed(f'Resource {arn} must be in ARN format or "*".', where)
        if partition not in _PARTITIONS:
            whole = ":".join(["arn", partition, *parts, *"****"[len(parts) :]])
            raise malformed(f'Partition "{partition}" is not valid for resource "{whole}".', where)
        if not parts or "*" in parts[0] or "?" in parts[0]:
            raise malformed(
                "Resource vendor must be fully qualified and cannot contain regexes.", where
            )


def _check_vendors(place: str, given: grammar.Statement, kind: PolicyKind) -> None:
    for where, action in grammar.actions(place, given).values:
        vendor, colon, name = action.partition(":")
        if not colon and action != "*":
            raise malformed(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", where
            )
        if ":" in name:
            raise malformed("Actions/Condition can contain only one colon.", where)
        if not _VENDOR.fullmatch(vendor):
            raise malformed(f"Vendor {vendor} is not valid", where)
        if kind == "role trust policy" and vendor.lower() != "sts":
            raise malformed("AssumeRole policy may only specify STS AssumeRole actions.", where)


def _actions(place: str, given: grammar.Statement) -> Actions:
    found = grammar.actions(place, given)
    return Actions(
        tests=tuple(
            caseless_test(template(action, wildcards=True, variables=False))
            for _, action in found.values
        ),
        excluded=found.excluded,
    )


def _resources(place: str, given: grammar.Statement, *, variables: bool) -> Resources:
    found = grammar.resources(place, given)
    # A role trust policy lists none: it stands at the role and speaks of nothing else.
    patterns = [_arn_pattern(arn, variables=variables) for _, arn in found.values or [("", "*")]]
    return Resources(
        fixed=tuple(arn_test(pattern) for pattern in patterns if is_fixed(pattern)),
        open=tuple(pattern for pattern in patterns if not is_fixed(pattern)),
        excluded=found.excluded,
    )


def _arn_pattern(arn: str, *, variables: bool) -> Template:
    """What a short ARN leaves out at its end is everything: `arn:aws:bedrock`."""
    missing = 0 if arn == "*" else 5 - arn.count(":")
    return template(arn + ":*" * missing, wildcards=True, variables=variables)


def _principals(kind: PolicyKind, place: str, given: grammar.Statement) -> Principals | None:
    excluded = given.not_principal is not UNSET
    where = f"{place}.NotPrincipal" if excluded else f"{place}.Principal"
    element = given.not_principal if excluded else given.principal
    if kind not in _WITH_PRINCIPAL:
        if element is not UNSET:
            raise malformed("Policy document should not specify a principal.", where)
        return None
    if element is UNSET:
        raise malformed("Missing required field Principal", where)
    if excluded and given.effect == "Allow":
        # Most services do not take it; Decision: nor do we, for it would allow strangers.
        raise malformed("Allow with NotPrincipal is not allowed.", where)
    return Principals(
        named=_named(element, where), federated=_federated(element, where), excluded=excluded
    )


def _named(element: grammar.PrincipalElement, place: str) -> frozenset[str]:
    if isinstance(element, str):
        return frozenset({"*"})
    texts = element.get("AWS", [])
    named = [texts] if isinstance(texts, str) else texts
    for name in named:
        if not _PRINCIPAL.fullmatch(name):
            raise malformed(f'Invalid principal in policy: "AWS":"{name}"', f"{place}.AWS")
    return frozenset(named)


def _federated(element: grammar.PrincipalElement, place: str) -> frozenset[str]:
    texts = [] if isinstance(element, str) else element.get("Federated", [])
    named = [texts] if isinstance(texts, str) else texts
    for name in named:
        if not name or "*" in name:
            raise malformed(
                f'Invalid principal in policy: "Federated":"{name}"', f"{place}.Federated"
            )
    return frozenset(named)
