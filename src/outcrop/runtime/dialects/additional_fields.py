"""Model parameters beyond Converse's: to the model server, and back from its answer."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.wire.errors import ValidationException
from outcrop.wire.shape import ABSENT


def additional_fields(document: Raw) -> dict[str, Raw]:
    if not document:
        return {}
    try:
        return msgspec.json.decode(document, type=dict[str, Raw])
    except BAD_JSON as error:
        raise ValidationException(
            "The format of the value at additionalModelRequestFields is invalid. Provide a json"
            " object for the field and try again."
        ) from error


def novas_own(document: Raw) -> dict[str, Raw]:
    """Amazon Nova takes `{"inferenceConfig": {"topK": …}}`: that, as others call it."""
    inner = additional_fields(document)
    return {"top_k": inner["topK"]} if "topK" in inner else {}


def picked(answer: Mapping[str, Any], paths: Sequence[str]) -> Raw:
    """What the JSON pointers find, at the same place in an object; empty if they find nothing.

    Pointers that find nothing are ignored, as Amazon's documentation of the member says.
    """
    found: dict[str, Any] = {}
    for path in paths:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]
        try:
            value = _at(answer, tokens)
        except LookupError:
            continue
        _put(found, tokens, value)
    return Raw(msgspec.json.encode(found)) if found else ABSENT


def _at(value: Any, tokens: Sequence[str]) -> Any:
    for token in tokens:
        value = _member(value, token)
    return value


def _member(value: Any, token: str) -> Any:
    if isinstance(value, list):
        token = _number(token)
    elif not isinstance(value, dict):
        raise LookupError(token)  # noqa: TRY004 - a pointer that leads nowhere, no wrong argument
    return cast("Any", value)[token]


def _number(token: str) -> Any:
    if not (token.isascii() and token.isdigit()):
        raise LookupError
    return int(token)


def _put(found: dict[str, Any], tokens: Sequence[str], value: Any) -> None:
    """Places in lists become members of an object: so the caller's pointers find them again."""
    *parents, last = tokens
    for token in parents:
        inner = found.setdefault(token, {})
        if not isinstance(inner, dict):
            return
        found = cast("dict[str, Any]", inner)
    found[last] = value
