"""From a request to an operation's input: the body, and what travels in path, query and headers.

The reading is msgspec's, strict and in C. Only when it refuses does `violations` look for words.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import unquote_plus

from msgspec import (
    NODEFAULT,
    DecodeError,
    Struct,
    convert,
    defstruct,
    field,
    inspect,
    json,
    structs,
)

from outcrop.wire import nodes, scalars, violations
from outcrop.wire.errors import AwsError, SerializationException, ValidationException
from outcrop.wire.http import HttpRequest
from outcrop.wire.json_size import check_size
from outcrop.wire.shape import Shape
from outcrop.wire.unchecked import Check, check_of

InputT = TypeVar("InputT", bound=Shape)
Values = dict[str, scalars.Scalar]
Decode = Callable[[Values, bytes], InputT]

Parsers = Mapping[str, scalars.Parser]

_NOTHING: Mapping[str, str] = {}
_PARSERS: Mapping[type[inspect.Type], scalars.Parser] = {
    inspect.IntType: scalars.integer,
    inspect.FloatType: scalars.number,
    inspect.BoolType: scalars.boolean,
    inspect.DateTimeType: scalars.timestamp,
}


class InputReader(Generic[InputT]):
    """Reads the input of one operation. Made at start; its decoders wait for the first request.

    `labels`, `query` and `headers` say what travels there: the name there → the member's name.
    `payload` is the member that the whole body is, as it came.
    """

    def __init__(
        self,
        input_type: type[InputT],
        *,
        labels: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        hide_body: bool,
        payload: str | None = None,
    ) -> None:
        self._input_type = input_type
        self._query = query or _NOTHING
        self._headers = headers or _NOTHING
        self._bound: Mapping[str, str] = {**(labels or _NOTHING), **self._query, **self._headers}
        self._payload = payload
        self._hide_body = hide_body
        self._decoding: _Decoding[InputT] | None = None
        self._inspector: violations.Inspector | None = None
        # A client asks for the same page in the same words; what it gets cannot be changed.
        self._of_query = lru_cache(maxsize=64)(self._read_query_alone)

    def read(self, request: HttpRequest, labels: Mapping[str, str]) -> InputT:
        if labels or request.body or self._headers:
            return self._read(request, labels)
        return self._of_query(request.query_string)

    def _read_query_alone(self, query_string: str) -> InputT:
        request = HttpRequest(method="", raw_path="", query_string=query_string, headers={})
        return self._read(request, _NOTHING)

    def _read(self, request: HttpRequest, labels: Mapping[str, str]) -> InputT:
        decoding = self._decoding or self._begin()
        bound = self._bound_values(request, labels, decoding.parsers) if self._bound else {}
        try:
            value = decoding.decode(bound, request.body)
            check = decoding.check
            if check is None or check(value):
                return value
        except (DecodeError, UnicodeDecodeError, RecursionError):
            pass
        raise self._refusal(bound, request.body)

    def _begin(self) -> "_Decoding[InputT]":
        fields = structs.fields(self._input_type)
        self._decoding = begun = _Decoding(
            {f.encode_name: _parser_of(f.type) for f in fields if f.encode_name in self._bound},
            _decode_of(self._input_type, self._bound)
            if self._payload is None
            else _decode_around(self._input_type, self._payload),
            check_of(self._input_type),
        )
        return begun

    def _bound_values(
        self, request: HttpRequest, labels: Mapping[str, str], parsers: Parsers
    ) -> Values:
        values: Values = {name: parsers[name](text) for name, text in labels.items()}
        if request.query_string:
            self._read_query(request.query_string, values, parsers)
        for name in self._headers:
            text = request.headers.get(name.lower())
            if text is not None:
                values[name] = parsers[name](text)
        return values

    def _read_query(self, query_string: str, values: Values, parsers: Parsers) -> None:
        encoded = "%" in query_string or "+" in query_string
        for pair in query_string.split("&"):
            name, _, text = pair.partition("=")
            if encoded:
                name, text = _decoded(name), _decoded(text)
            if name not in self._query:
                continue
            if name in values:
                # Which of the two Amazon takes is not known: nobody shall come to rely on either.
                raise ValidationException(f"The query parameter {name} must not be repeated.")
            values[name] = parsers[name](text)

    def _refusal(self, bound: Values, body: bytes) -> AwsError:
        members: dict[str, Any] = {}
        if self._payload is not None:
            members[self._payload] = b64encode(body).decode()
        elif len(self._bound) < len(structs.fields(self._input_type)):
            try:
                members = _object(body)
            except (DecodeError, UnicodeDecodeError, RecursionError):
                return SerializationException(
                    "The request body could not be parsed as a JSON object."
                )
        in_body = {name: value for name, value in members.items() if name not in self._bound}
        if self._inspector is None:
            self._inspector = violations.Inspector(
                self._input_type, self._bound, hide_body=self._hide_body
            )
        return self._inspector.refusal({**in_body, **bound})


class _Decoding(Struct, Generic[InputT], frozen=True):
    """What is made of an operation's input when it is first asked for."""

    parsers: Parsers
    decode: Decode[InputT]
    check: Check | None


def _decoded(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise SerializationException("The query string is not valid UTF-8.") from None


def _parser_of(annotation: Any) -> scalars.Parser:
    return _PARSERS.get(type(nodes.plain(inspect.type_info(annotation))), str)


def _decode_around(input_type: type[InputT], payload: str) -> Decode[InputT]:
    def decode(values: Values, body: bytes) -> InputT:
        return convert({**values, payload: body} if body else values, input_type)

    return decode


def _decode_of(input_type: type[InputT], bound: Mapping[str, str]) -> Decode[InputT]:
    fields = structs.fields(input_type)
    outside = [f for f in fields if f.encode_name in bound]
    inside = [f for f in fields if f.encode_name not in bound]
    if not inside:
        return lambda values, _: convert(values, input_type)
    if not outside:
        decoder = json.Decoder(input_type)
        return lambda _, body: decoder.decode(_utf8(body))
    outside_type, body_decoder = _part(outside), json.Decoder(_part(inside))

    # The two never see each other's members: a body cannot smuggle in a label.
    def decode(values: Values, body: bytes) -> InputT:
        members = structs.asdict(body_decoder.decode(_utf8(body)))
        return input_type(**members, **structs.asdict(convert(values, outside_type)))

    return decode


def _part(fields: list[structs.FieldInfo]) -> type[Struct]:
    definitions = [
        (f.name, f.type, field(name=f.encode_name))
        if f.default is NODEFAULT
        else (f.name, f.type, field(default=f.default, name=f.encode_name))
        for f in fields
    ]
    return defstruct("Part", cast("Any", definitions), kw_only=True)


def _utf8(body: bytes) -> bytes:
    """`body`, or UnicodeDecodeError: msgspec does not look into what it skips."""
    check_size(body)
    if not body.isascii():
        body.decode()
    return body or b"{}"


def _object(body: bytes) -> dict[str, Any]:
    return json.decode(_utf8(body), type=dict[str, Any])
