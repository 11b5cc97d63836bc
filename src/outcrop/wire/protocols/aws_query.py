"""awsQuery: a form in, `Dimensions.member.1.Name=ModelId`; XML out."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from msgspec import Struct, inspect

from outcrop.wire import leaves, scalars
from outcrop.wire.errors import AwsError, SerializationException
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.nodes import plain
from outcrop.wire.protocols.refusal import fault, refusal_headers
from outcrop.wire.rpc import Members, Output, RpcService
from outcrop.wire.timestamps import iso8601

FORM = "application/x-www-form-urlencoded"
CONTENT_TYPE = "text/xml"
_MOST_PARAMETERS = 20_000
# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LEAVES: leaves.Leaves = {
    inspect.IntType: scalars.integer,
    inspect.FloatType: scalars.number,
    inspect.BoolType: scalars.boolean,
    inspect.DateTimeType: leaves.moment,
}


def form(request: HttpRequest) -> Mapping[str, str]:
    """The parameters of a request, which a GET carries in its query. Raises SerializationException.

    Of a parameter that comes twice the last counts.
    """
    text = request.query_string.encode() if request.method == "GET" else request.body
    try:
        pairs = parse_qsl(
            text.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise SerializationException("The request body could not be parsed as a form.") from None
    return dict(pairs)


class AwsQuery:
    def __init__(self, service: RpcService) -> None:
        self._xmlns = f' xmlns="{escape(service.xml_namespace)}"'

    def members(self, request: HttpRequest, input_type: inspect.Type) -> Members:
        tree = _tree(form(request))
        members: Mapping[str, Any] = leaves.read(input_type, _listed(input_type, tree), _LEAVES)
        return members

    def answer(self, operation: str, output: Output, request_id: str) -> HttpResponse:
        result = _element(f"{operation}Result", _content(_with_maps(output.type, output.members)))
        metadata = _element("ResponseMetadata", _element("RequestId", escape(request_id)))
        return HttpResponse(
            status=200,
            headers={"content-type": CONTENT_TYPE},
            body=_element(f"{operation}Response", result + metadata, self._xmlns).encode(),
        )

    def refusal(self, error: AwsError, request_id: str) -> HttpResponse:
        members = {
            "Type": fault(error),
            "Code": error.query_code or error.name,
            "Message": error.message,
        }
        content = _element("Error", "".join(_elements(members)))
        content += _element("RequestId", escape(request_id))
        return HttpResponse(
            status=error.status,
            headers=refusal_headers(error, request_id, CONTENT_TYPE),
            body=_element("ErrorResponse", content, self._xmlns).encode(),
        )


def _tree(parameters: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, text in parameters.items():
        *parents, last = name.split(".", leaves.DEEPEST)
        branch = tree
        for parent in parents:
            branch = _branch(branch, parent)
        branch.setdefault(last, text)
    return tree


def _branch(tree: dict[str, Any], name: str) -> dict[str, Any]:
    below: Any = tree.setdefault(name, {})
    # `A=1&A.B=2`: no such shape; the text stays and its type is complained of.
    return cast("dict[str, Any]", below) if isinstance(below, dict) else {}


def _listed(info: inspect.Type, value: Any) -> Any:
    """With lists where the model has lists: `{"member": {"1": …, "2": …}}` until now."""
    match plain(info), value:
        case inspect.StructType(fields=fields), dict():
            branch = cast("Mapping[str, Any]", value)
            present = (f for f in fields if f.encode_name in branch)
            return {f.encode_name: _listed(f.type, branch[f.encode_name]) for f in present}
        case inspect.ListType(item_type=item_type), {"member": dict()}:
            numbered = cast("dict[str, dict[str, Any]]", value)["member"]
            return [_listed(item_type, numbered[n]) for n in sorted(numbered, key=scalars.integer)]
        case inspect.ListType(), "":  # how an SDK writes a list of nothing
            return []
        case _:
            return value


class _Map(Struct, frozen=True):
    entries: Members


def _with_maps(info: inspect.Type, value: Any) -> Any:
    """With maps told apart from structures: XML writes them in another way."""
    match plain(info), value:
        case inspect.StructType(fields=fields), dict():
            types = {f.encode_name: f.type for f in fields}
            members = cast("Members", value).items()
            return {name: _with_maps(types[name], item) for name, item in members}
        case inspect.ListType(item_type=item_type), list():
            return [_with_maps(item_type, item) for item in cast("Iterable[Any]", value)]
        case inspect.DictType(), dict():
            return _Map(cast("Members", value))
        case _:
            return value


def _elements(members: Members) -> Iterator[str]:
    for name, value in members.items():
        yield _element(name, _content(value))


def _content(value: Any) -> str:
    match value:
        case dict():
            return "".join(_elements(cast("Members", value)))
        case list():
            items = cast("Iterable[Any]", value)
            return "".join(_element("member", _content(item)) for item in items)
        case _Map(entries=entries):
            pairs = (_elements({"key": key, "value": item}) for key, item in entries.items())
            return "".join(_element("entry", "".join(pair)) for pair in pairs)
        case bool():
            return "true" if value else "false"
        case datetime():
            return iso8601(value)
        case _:
            return escape(_UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def _element(name: str, content: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{content}</{name}>"
