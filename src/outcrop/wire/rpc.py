"""Operations that are addressed by name: CloudWatch's, Cost Explorer's, STS's.

The same operation is spoken in several protocols; which one, each request says for itself.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct, ValidationError, convert, inspect, to_builtins

from outcrop.wire import violations
from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.shape import Shape

InputT = TypeVar("InputT", bound=Shape)
OutputT = TypeVar("OutputT", bound=Shape)
Members = Mapping[str, Any]
"""A structure by the names on the wire: text, numbers, flags, datetimes, lists and maps."""


class ErrorProtocol(Protocol):
    """How a refusal looks on the wire."""

    def refusal(self, error: AwsError, request_id: str) -> HttpResponse: ...


class RpcProtocol(ErrorProtocol, Protocol):
    """One way to write an operation's input and output."""

    def members(self, request: HttpRequest, input_type: inspect.Type) -> Members:
        """Raises SerializationException."""
        ...

    def answer(self, operation: str, output: "Output", request_id: str) -> HttpResponse: ...


class Output(Struct, frozen=True):
    type: inspect.Type
    members: Members


class RpcService(Struct, frozen=True, kw_only=True):
    """One row of a service model's metadata."""

    name: str
    signing_name: str
    protocols: tuple[str, ...]
    version: str
    target_prefix: str = ""
    json_version: str = ""
    xml_namespace: str = ""
    query_compatible: bool = False
    """Its errors carry the names that the query protocol has for them, in every protocol."""


class RpcOperation(Generic[InputT, OutputT]):
    """One request, one answer."""

    def __init__(
        self,
        name: str,
        *,
        service: RpcService,
        input_type: type[InputT],
        output_type: type[OutputT],
    ) -> None:
        self.name = name
        self.service = service
        self.input_type = input_type
        self.output_type = output_type

    def decode(self, request: HttpRequest, protocol: RpcProtocol) -> InputT:
        """Raises ValidationException or SerializationException, in Amazon's words."""
        members = protocol.members(request, self._input)
        try:
            return convert(members, self.input_type)
        except ValidationError:
            raise self._inspector.refusal(members) from None

    def encode(self, output: OutputT, protocol: RpcProtocol, request_id: str) -> HttpResponse:
        members = to_builtins(output, builtin_types=(datetime,))
        return protocol.answer(self.name, Output(self._output, members), request_id)

    @cached_property
    def _input(self) -> inspect.Type:
        return inspect.type_info(self.input_type)

    @cached_property
    def _output(self) -> inspect.Type:
        return inspect.type_info(self.output_type)

    @cached_property
    def _inspector(self) -> violations.Inspector:
        return violations.Inspector(self.input_type, {}, hide_body=False)
