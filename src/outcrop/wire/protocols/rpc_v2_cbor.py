"""smithy-rpc-v2-cbor: CBOR both ways, the operation in the path."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from cbor2 import CBORDecodeError, dumps, loads
from msgspec import inspect

from outcrop.wire import leaves
from outcrop.wire.errors import AwsError, SerializationException
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.protocols.refusal import query_error, refusal_headers
from outcrop.wire.rpc import Members, Output, RpcService

CONTENT_TYPE = "application/cbor"
SMITHY_PROTOCOL = "smithy-protocol"


def _refuse(*_: object) -> NoReturn:
    raise ValueError("a tag that no SDK writes")


# All that cbor2 knows but the moment (1): cycles, regular expressions and numbers of any size are
# no members of ours, and better not built at all.
_FOREIGN_TAGS: Mapping[int, Callable[..., NoReturn]] = dict.fromkeys(
    (
        *(0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004),
        *(43000, 55799),
    ),
    _refuse,
)


class RpcV2Cbor:
    def __init__(self, service: RpcService) -> None:
        self._namespace = f"com.amazonaws.{service.name}#"
        self._query_compatible = service.query_compatible

    def members(self, request: HttpRequest, input_type: inspect.Type) -> Members:
        try:
            body: Any = loads(
                request.body or b"\xa0",
                semantic_decoders=_FOREIGN_TAGS,
                max_depth=leaves.DEEPEST,
                strict_hashable_types=True,
            )
        except (CBORDecodeError, ValueError):
            body = None
        if not isinstance(body, dict):
            raise SerializationException("The request body could not be parsed as a CBOR map.")
        # Moments are moments already; to drop what the model does not know is the same for all.
        members: Mapping[str, Any] = leaves.read(input_type, body, {})
        return members

    def answer(self, operation: str, output: Output, request_id: str) -> HttpResponse:
        del operation, request_id
        headers = {"content-type": CONTENT_TYPE, SMITHY_PROTOCOL: "rpc-v2-cbor"}
        return HttpResponse(status=200, headers=headers, body=_encoded(output.members))

    def refusal(self, error: AwsError, request_id: str) -> HttpResponse:
        headers = refusal_headers(error, request_id, CONTENT_TYPE)
        headers[SMITHY_PROTOCOL] = "rpc-v2-cbor"
        if self._query_compatible:
            headers["x-amzn-query-error"] = query_error(error)
        members = {"__type": self._namespace + error.name, "message": error.message}
        return HttpResponse(
            status=error.status, headers=headers, body=_encoded({**members, **error.members})
        )


def _encoded(members: Members) -> bytes:
    return dumps(members, datetime_as_timestamp=True)
