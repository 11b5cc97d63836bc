"""Cost Explorer's Expression: which costs a request is about."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.ce import DimensionValues, Expression, MatchOption, TagValues

SUPPORTED: Final = (
    "SERVICE",
    "USAGE_TYPE",
    "REGION",
    "LINKED_ACCOUNT",
    "RESOURCE_ID",
    "RECORD_TYPE",
)
"""The dimensions that Bedrock's costs differ in."""
PRINCIPAL_TAG = "aws:PrincipalArn"
"""Who called, as a tag: Cost Explorer has no dimension for it."""

_SOURCES = {
    f"TAG:{PRINCIPAL_TAG}": ("PRINCIPAL",),
    "RESOURCE_ID": ("PROVISIONED_MODEL", "INFERENCE_PROFILE"),
}

Keys: TypeAlias = Mapping[str, str]
"""What a cost is split by, by names as `SERVICE` and `TAG:team`; empty where there is no value."""
Filter: TypeAlias = Callable[[Keys], bool]

# Far above what anybody writes: every row of costs is held against all of it. How deep is far
# below where Python's stack ends.
_DEEPEST = 20
_MOST_CONDITIONS = 100
_MOST_PATTERNS = 500


def dimension(key: str | None) -> str:
    if key in SUPPORTED:
        return key
    # As far as it names the dimension, seen in aws/aws-cli#8536.
    raise ValidationException(
        f"Dimension {key} is not allowed. Allowed are: {', '.join(SUPPORTED)}."
    )


def tag(key: str | None) -> str:
    if not key:
        raise ValidationException("The key of a tag must not be empty.")
    return f"TAG:{key}"


def names_in(expression: Expression | None) -> Iterator[str]:
    """What a filter looks at."""
    for name, _ in _conditions(expression) if expression else ():
        yield name


def sources(name: str) -> Sequence[str]:
    """What the ledger calls it: the first of these that has a value."""
    return _SOURCES.get(name, (name,))


def filter_of(expression: Expression | None) -> Filter:
    """Raises ValidationException."""
    if expression is None:
        return lambda _: True
    wanted = _filter(expression, _DEEPEST)
    conditions = [condition for _, condition in _conditions(expression)]
    patterns = [len(one.values or ()) for one in conditions if not _is_equality(one)]
    if len(conditions) > _MOST_CONDITIONS or sum(patterns) > _MOST_PATTERNS:
        raise ValidationException(
            f"A filter has at most {_MOST_CONDITIONS} conditions, and {_MOST_PATTERNS} values that"
            " are not to be equal."
        )
    return wanted


def _conditions(expression: Expression) -> Iterator[tuple[str, DimensionValues | TagValues]]:
    """By the name of what they are about."""
    if expression.dimensions is not None:
        yield dimension(expression.dimensions.key), expression.dimensions
    if expression.tags is not None:
        yield tag(expression.tags.key), expression.tags
    for below in _below(expression):
        yield from _conditions(below)


def _filter(expression: Expression, depth: int) -> Filter:
    if depth == 0:
        raise ValidationException("The filter is nested too deeply.")
    _check(expression)
    below = [_filter(one, depth - 1) for one in _below(expression)]
    if expression.and_ is not None:
        return lambda keys: all(one(keys) for one in below)
    if expression.or_ is not None:
        return lambda keys: any(one(keys) for one in below)
    if expression.not_ is not None:
        return lambda keys: not below[0](keys)
    if expression.tags is not None:
        return _matching(tag(expression.tags.key), expression.tags)
    assert expression.dimensions is not None
    return _matching(dimension(expression.dimensions.key), expression.dimensions)


def _below(expression: Expression) -> Iterable[Expression]:
    lone = [expression.not_] if expression.not_ is not None else []
    return [*(expression.and_ or ()), *(expression.or_ or ()), *lone]


def _check(expression: Expression) -> None:
    if expression.cost_categories is not None or expression.product_attributes is not None:
        raise ValidationException(
            "Filters by cost category or product attribute are not supported."
        )
    arms = (
        expression.and_,
        expression.or_,
        expression.not_,
        expression.dimensions,
        expression.tags,
    )
    if sum(arm is not None for arm in arms) != 1:
        raise ValidationException(
            "Expression must have exactly one of And, Or, Not, Dimensions, Tags."
        )
    for operands in (expression.and_, expression.or_):
        if operands is not None and len(operands) < 2:
            raise ValidationException("Or and And need at least two operands.")


def _matching(name: str, wanted: DimensionValues | TagValues) -> Filter:
    options = wanted.match_options or []
    if "ABSENT" in options:
        return lambda keys: not keys[name]
    values = wanted.values or []
    if not values:
        raise ValidationException(f"The values of the filter by {name} must not be empty.")
    fold = str.casefold if "CASE_INSENSITIVE" in options else str
    folded = frozenset(map(fold, values))
    if _is_equality(wanted):
        return lambda keys: fold(keys[name]) in folded
    match = _match(options)
    return lambda keys: any(match(fold(keys[name]), value) for value in folded)


def _is_equality(wanted: DimensionValues | TagValues) -> bool:
    return _ways(wanted.match_options or []) in ([], ["EQUALS"])


def _ways(options: Sequence[MatchOption]) -> list[MatchOption]:
    return [option for option in options if option not in ("CASE_SENSITIVE", "CASE_INSENSITIVE")]


def _match(options: Sequence[MatchOption]) -> Callable[[str, str], bool]:
    match ways := _ways(options):
        case ["STARTS_WITH"]:
            return str.startswith
        case ["ENDS_WITH"]:
            return str.endswith
        case ["CONTAINS"]:
            return str.__contains__
        case _:
            raise ValidationException(f"The match options {', '.join(ways)} are not supported.")
