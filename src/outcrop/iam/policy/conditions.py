"""Conditions of a statement: every operator of the language, asked of a request's context."""

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from outcrop.iam.policy import comparisons
from outcrop.iam.policy.patterns import (
    Context,
    Template,
    Test,
    arn_test,
    caseless_test,
    filled_in,
    is_fixed,
    keys_of,
    template,
    text_test,
)

Quantifier: TypeAlias = Literal["ForAllValues", "ForAnyValue"]


class Operator(Struct, frozen=True, kw_only=True):
    prepare: Callable[[Template], Test]
    """The test of one value of a policy. Raises ValueError when it cannot be compared so."""
    negated: bool = False
    wildcards: bool = False
    variables: bool = False


class Comparison(Struct, frozen=True, kw_only=True):
    """One key under one operator. Of several values of a policy any will do; none, if negated."""

    operator: Operator
    key: str
    """In lower case."""
    fixed: tuple[Test, ...]
    open: tuple[Template, ...]
    """The values with variables in them."""
    quantifier: Quantifier | None
    when_absent: bool
    """What holds when the request has no such key."""

    @property
    def keys(self) -> frozenset[str]:
        """All of the context that the condition looks at."""
        return frozenset({self.key, *itertools.chain(*map(keys_of, self.open))})

    def met(self, context: Context) -> bool:
        found = context.get(self.key)
        if found is None:
            return self.when_absent
        values = (found,) if isinstance(found, str) else found
        # To a quantifier "a null data set, such as an empty string" is no key.
        if not (any(values) if self.quantifier else values):
            return self.when_absent
        tests = self._tests(context) if self.open else self.fixed
        negated = self.operator.negated
        if self.quantifier == "ForAllValues":
            return all(_matched(value, tests) != negated for value in values)
        if self.quantifier == "ForAnyValue":
            return any(_matched(value, tests) != negated for value in values)
        # Decision: several values without a quantifier, which Amazon leaves open, are asked as
        # several values of a policy are: any will do; none, if negated.
        for value in values:
            if _matched(value, tests):
                return not negated
        return negated

    def _tests(self, context: Context) -> Sequence[Test]:
        tests = list(self.fixed)
        for value in self.open:
            filled = filled_in(value, context)
            if filled is not None:
                tests.append(_lenient(self.operator, filled))
        return tests


class Presence(Struct, frozen=True, kw_only=True):
    """`Null`: whether the request has the key at all."""

    key: str
    absent: frozenset[bool]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset({self.key})

    def met(self, context: Context) -> bool:
        return (context.get(self.key, ()) == ()) in self.absent


Condition: TypeAlias = Comparison | Presence


class UnknownOperatorError(ValueError):
    pass


def condition(name: str, key: str, values: Sequence[str], *, variables: bool) -> Condition:
    """Raises UnknownOperatorError, or ValueError when a value cannot be compared so."""
    quantifier, base, if_exists = _parts(name)
    if base == "Null" and not if_exists:
        return Presence(key=key.lower(), absent=frozenset(map(comparisons.truth, values)))
    found = OPERATORS.get(base)
    if found is None:
        raise UnknownOperatorError(f"there is no condition operator {name!r}")
    variables = variables and found.variables
    templates = [
        template(value, wildcards=found.wildcards, variables=variables) for value in values
    ]
    return Comparison(
        operator=found,
        key=key.lower(),
        fixed=tuple(found.prepare(value) for value in templates if is_fixed(value)),
        open=tuple(value for value in templates if not is_fixed(value)),
        quantifier=quantifier,
        when_absent=if_exists or _holds_without_key(found, quantifier),
    )


def _parts(name: str) -> tuple[Quantifier | None, str, bool]:
    """Quantifier, operator and whether IfExists: `ForAnyValue:StringLikeIfExists`."""
    base = name.removesuffix("IfExists")
    for quantifier in get_args(Quantifier):
        if base.startswith(f"{quantifier}:"):
            return quantifier, base.removeprefix(f"{quantifier}:"), base != name
    return None, base, base != name


def _holds_without_key(found: Operator, quantifier: Quantifier | None) -> bool:
    return found.negated if quantifier is None else quantifier == "ForAllValues"


def _matched(value: str, tests: Sequence[Test]) -> bool:
    for test in tests:  # noqa: SIM110 - a generator costs twice as much, and this is asked often
        if test(value):
            return True
    return False


def _lenient(found: Operator, filled: Template) -> Test:
    """What a request filled in and cannot be compared matches nothing."""
    try:
        return found.prepare(filled)
    except ValueError:
        return lambda _: False


def _of_text(prepare: Callable[[str], Test]) -> Callable[[Template], Test]:
    return lambda value: prepare("".join(str(piece) for piece in value))


def _both(
    name: str, prepare: Callable[[Template], Test], *, wildcards: bool = False
) -> Mapping[str, Operator]:
    """`StringEquals` and `StringNotEquals`, of texts in which variables are known."""
    kind = next(word for word in ("String", "Arn") if name.startswith(word))
    plain = Operator(prepare=prepare, wildcards=wildcards, variables=True)
    negated = Operator(prepare=prepare, wildcards=wildcards, variables=True, negated=True)
    return {name: plain, name.replace(kind, f"{kind}Not"): negated}


def _ordered(
    kind: str, compared: Callable[[comparisons.Comparison], Callable[[str], Test]]
) -> Mapping[str, Operator]:
    equal = _of_text(compared(operator.eq))
    return {
        f"{kind}Equals": Operator(prepare=equal),
        f"{kind}NotEquals": Operator(prepare=equal, negated=True),
        f"{kind}LessThan": Operator(prepare=_of_text(compared(operator.lt))),
        f"{kind}LessThanEquals": Operator(prepare=_of_text(compared(operator.le))),
        f"{kind}GreaterThan": Operator(prepare=_of_text(compared(operator.gt))),
        f"{kind}GreaterThanEquals": Operator(prepare=_of_text(compared(operator.ge))),
    }


OPERATORS: Mapping[str, Operator] = {
    **_both("StringEquals", text_test),
    **_both("StringEqualsIgnoreCase", caseless_test),
    **_both("StringLike", text_test, wildcards=True),
    **_both("ArnEquals", arn_test, wildcards=True),
    **_both("ArnLike", arn_test, wildcards=True),
    **_ordered("Numeric", comparisons.numeric),
    **_ordered("Date", comparisons.date),
    "Bool": Operator(prepare=_of_text(comparisons.boolean), variables=True),
    "BinaryEquals": Operator(prepare=_of_text(comparisons.binary)),
    "IpAddress": Operator(prepare=_of_text(comparisons.address)),
    "NotIpAddress": Operator(prepare=_of_text(comparisons.address), negated=True),
}
"""All but `Null`, by name. ArnEquals and ArnLike "behave identically"."""
