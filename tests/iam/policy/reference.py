"""A second evaluation of policies, from the IAM User Guide alone: slow, plain, without cache.

It shares nothing with the product's: raw JSON in, a verdict out.
"""

import base64
import ipaddress
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Raw = dict[str, Any]
Keys = dict[str, str | list[str]]


def verdict(request: Raw, policies: Raw) -> tuple[str, str]:  # noqa: C901, PLR0911 - the chart
    """("deny" | "implicit deny" | "allow", kind of policy), as the guide's flow chart goes."""
    everywhere = [
        *[("service control policy", p) for level in policies["scps"] for p in level],
        *[("identity-based policy", p) for p in policies["identity"]],
        *[("permissions boundary", p) for p in policies["boundary"] or []],
        *[("session policy", p) for p in policies["session"] or []],
        *[("resource-based policy", p) for p in policies["resource"]],
    ]
    for kind, policy in everywhere:
        if says(policy, "Deny", request):
            return "deny", kind
    for level in policies["scps"]:
        if not any(says(p, "Allow", request) for p in level):
            return "implicit deny", "service control policy"
    grants = [how for p in policies["resource"] for how in says(p, "Allow", request)]
    if request["crosses"]:
        if not grants:
            return "implicit deny", "resource-based policy"
        grants = []
    if request["type"] == "Account":
        return "allow", "root"
    if "direct" in grants:
        return "allow", "resource-based policy"
    if any(says(p, "Allow", request) for p in policies["identity"]):
        return limited("identity-based policy", request, policies)
    if "role" in grants:
        return limited("resource-based policy", request, policies)
    return "implicit deny", "identity-based policy"


def limited(by: str, request: Raw, policies: Raw) -> tuple[str, str]:
    for kind, name in (("boundary", "permissions boundary"), ("session", "session policy")):
        limiting = policies[kind]
        if limiting is not None and not any(says(p, "Allow", request) for p in limiting):
            return "implicit deny", name
    return "allow", by


def says(policy: Raw, effect: str, request: Raw) -> list[str]:
    """For each statement of that effect which applies: how it names the principal."""
    statements = policy["Statement"]
    if isinstance(statements, dict):
        statements = [statements]
    found = []
    for statement in statements:
        if statement["Effect"] != effect:
            continue
        named = how_named(statement, request)
        new = policy.get("Version") == "2012-10-17"
        if named is not None and matches(statement, request, new=new):
            found.append(named)
    return found


def how_named(statement: Raw, request: Raw) -> str | None:
    chain = [request["arn"]]
    if request["role"]:
        chain.append(request["role"])
    account = request["account"]
    accounts = {account, f"arn:aws:iam::{account}:root"}
    if "NotPrincipal" in statement:
        listed = aws_principals(statement["NotPrincipal"])
        spared = "*" in listed or (
            bool(accounts & set(listed)) and all(c in listed or c in accounts for c in chain)
        )
        return None if spared else "direct"
    if "Principal" not in statement:
        return "owner"
    listed = aws_principals(statement["Principal"])
    if "*" in listed or chain[0] in listed:
        return "direct"
    if request["role"] in listed:
        return "role"
    return "account" if accounts & set(listed) else None


def aws_principals(element: Any) -> list[str]:
    return [element] if isinstance(element, str) else as_list(element.get("AWS", []))


def matches(statement: Raw, request: Raw, *, new: bool) -> bool:
    action = request["action"].lower()
    if "Action" in statement:
        if not any(
            like(tokens(a.lower(), {}, new=False), action) for a in as_list(statement["Action"])
        ):
            return False
    elif any(
        like(tokens(a.lower(), {}, new=False), action) for a in as_list(statement["NotAction"])
    ):
        return False
    if "Resource" in statement:
        if not any(arn_like(r, request, new=new) for r in as_list(statement["Resource"])):
            return False
    elif any(arn_like(r, request, new=new) for r in as_list(statement["NotResource"])):
        return False
    keys = {key.lower(): value for key, value in request["context"].items()}
    return all(
        holds(operator, key, as_list(values), keys, new=new)
        for operator, block in statement.get("Condition", {}).items()
        for key, values in block.items()
    )


def arn_like(pattern: str, request: Raw, *, new: bool) -> bool:
    keys = {key.lower(): value for key, value in request["context"].items()}
    if pattern.count(":") == 2:
        # "arn:aws:s3" is short for "arn:aws:s3:*:*:*".
        pattern += ":*:*:*"
    found = tokens(pattern, keys, new=new)
    return found is not None and like_arn(found, request["resource"])


def holds(operator: str, key: str, values: list[Any], keys: Keys, *, new: bool) -> bool:
    quantifier, _, base = operator.rpartition(":")
    if base == "Null":
        absent = key.lower() not in keys or keys[key.lower()] == []
        return any((str(value).lower() == "true") == absent for value in values)
    optional = base.endswith("IfExists")
    base = base.removesuffix("IfExists")
    negated = "Not" in base
    plain = base.replace("Not", "")
    found = keys.get(key.lower())
    several = [] if found is None else as_list(found)
    if quantifier and not any(several):
        several = []
    if not several:
        if optional:
            return True
        return {"ForAllValues": True, "ForAnyValue": False, "": negated}[quantifier]
    texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    each = [any(compare(plain, value, text, keys, new=new) for text in texts) for value in several]
    if quantifier == "ForAllValues":
        return all(one != negated for one in each)
    if quantifier == "ForAnyValue":
        return any(one != negated for one in each)
    return any(each) != negated


def compare(operator: str, value: str, text: str, keys: Keys, *, new: bool) -> bool:
    if operator in {"StringEquals", "StringEqualsIgnoreCase", "StringLike"}:
        wanted = tokens(text, keys, new=new)
        if wanted is None:
            return False
        if operator != "StringLike":
            wanted = [("text", t) for _, t in tokens_without_wildcards(text, keys, new=new)]
        if operator == "StringEqualsIgnoreCase":
            wanted, value = [(k, t.lower()) for k, t in wanted], value.lower()
        return like(wanted, value)
    if operator in {"ArnEquals", "ArnLike"}:
        wanted = tokens(text, keys, new=new)
        return wanted is not None and like_arn(wanted, value)
    try:
        return compare_values(operator, value, text, keys, new=new)
    except (ValueError, InvalidOperation):
        return False


def compare_values(operator: str, value: str, text: str, keys: Keys, *, new: bool) -> bool:
    if operator == "Bool":
        wanted = tokens_without_wildcards(text, keys, new=new)
        joined = None if tokens(text, keys, new=new) is None else "".join(t for _, t in wanted)
        return joined is not None and value.lower() == joined.lower()
    if operator == "BinaryEquals":
        return base64.b64decode(value) == base64.b64decode(text)
    if operator == "IpAddress":
        return ipaddress.ip_address(value) in ipaddress.ip_network(text, strict=False)
    kind = "Numeric" if operator.startswith("Numeric") else "Date"
    left, right = (Decimal(v) if kind == "Numeric" else when(v) for v in (value, text))
    return {
        "Equals": left == right,
        "LessThan": left < right,
        "LessThanEquals": left <= right,
        "GreaterThan": left > right,
        "GreaterThanEquals": left >= right,
    }[operator.removeprefix(kind)]


def when(text: str) -> Decimal:
    if re.fullmatch(r"\d{5,}", text):
        return Decimal(text)
    # The W3C's profile has months without a day.
    whole = text + "-01" if re.fullmatch(r"\d{4}-\d\d", text) else text
    moment = datetime.fromisoformat(whole)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Decimal(str(moment.timestamp()))


Token = tuple[str, str]
"""("text", characters), ("any", ""), ("one", "")"""


def tokens(text: str, keys: Keys, *, new: bool) -> list[Token] | None:
    """None: a variable has no value."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        variable = variable_at(text, at) if new else None
        if variable is not None:
            inner, at = variable
            value = value_of(inner, keys)
            if value is None:
                return None
            found.append(("text", value))
            continue
        kind = {"*": "any", "?": "one"}.get(text[at], "text")
        found.append((kind, text[at]))
        at += 1
    return found


def tokens_without_wildcards(text: str, keys: Keys, *, new: bool) -> list[Token]:
    return [("text", t) for _, t in tokens(text, keys, new=new) or []]


def variable_at(text: str, at: int) -> tuple[str, int] | None:
    if not text.startswith("${", at):
        return None
    found = re.match(r"\$\{([*?$]|[^,{}']+(,\s*'[^']*'\s*)?)\}", text[at:])
    return None if found is None else (found[1], at + found.end())


def value_of(inner: str, keys: Keys) -> str | None:
    if inner in {"*", "?", "$"}:
        return inner
    name, comma, default = inner.partition(",")
    value = keys.get(name.strip().lower())
    if isinstance(value, str):
        return value
    return default.strip()[1:-1] if comma else None


def like(pattern: list[Token] | None, text: str) -> bool:
    """By trying: the table of which prefix of the pattern matches which prefix of the text."""
    flat: list[Token] = []
    for kind, characters in pattern or []:
        flat += [("text", c) for c in characters] if kind == "text" else [(kind, "")]
    reachable = {0}
    for kind, character in flat:
        if kind == "any":
            reachable = set(range(min(reachable, default=len(text) + 1), len(text) + 1))
        else:
            reachable = {
                i + 1
                for i in reachable
                if i < len(text) and (kind == "one" or text[i] == character)
            }
    return len(text) in reachable


def like_arn(pattern: list[Token], text: str) -> bool:
    """Part by part: of six, the last may hold further colons."""
    if [kind for kind, _ in pattern] == ["any"]:
        return True
    parts: list[list[Token]] = [[]]
    for kind, characters in pattern:
        for character in characters if kind == "text" else [""]:
            if kind == "text" and character == ":" and len(parts) < 6:
                parts.append([])
            else:
                parts[-1].append((kind, character))
    texts = text.split(":", 5)
    if len(parts) != 6 or len(texts) != 6:
        return False
    return all(like(p, t) for p, t in zip(parts, texts, strict=True))


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
