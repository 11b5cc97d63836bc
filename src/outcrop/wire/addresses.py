"""Which operation of which service a request is for, and in which protocol it speaks."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct

from outcrop.wire.http import HttpRequest
from outcrop.wire.protocols.aws_json import AwsJson
from outcrop.wire.protocols.aws_query import FORM, AwsQuery, form
from outcrop.wire.protocols.rest_json import RestJson
from outcrop.wire.protocols.rpc_v2_cbor import RpcV2Cbor
from outcrop.wire.routes import Routes
from outcrop.wire.rpc import ErrorProtocol, RpcProtocol, RpcService

REST_JSON = RestJson()
BEDROCK = "bedrock"
"""What both of Bedrock's endpoints sign with."""

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_NAME = re.compile(r"[A-Za-z]{1,64}")


class Address(Struct, frozen=True, kw_only=True):
    service: str
    operation: str
    """Where operations are addressed by name: as written, known or not."""
    signing_name: str
    """What the credential of a request for it must be scoped to."""
    protocol: ErrorProtocol
    rpc: RpcProtocol | None = None
    """The same protocol, where operations are addressed by name."""


RestRows: TypeAlias = Iterable[tuple[str, str, str]]
Found: TypeAlias = tuple[Address, Mapping[str, str]]
_Spoken: TypeAlias = tuple[RpcService, RpcProtocol]


class Addresses:
    """Bedrock's operations by their paths, those of other services by their names."""

    def __init__(self, rest: Mapping[str, RestRows], rpc: Iterable[RpcService]) -> None:
        """`rest`: by service, its rows of name, method and URI."""
        self._routes = Routes(
            (_rest(service, name), method, uri)
            for service, rows in rest.items()
            for name, method, uri in rows
        )
        self._cbor: dict[str, _Spoken] = {}
        self._json: dict[str, _Spoken] = {}
        self._query: dict[str, _Spoken] = {}
        for service in rpc:
            self._add(service)

    def find(self, request: HttpRequest) -> Found | None:
        """None when nothing is addressed. Raises SerializationException for a broken form."""
        found = self._routes.match(request.method, request.raw_path)
        if found is not None:
            return found
        address = self._by_name(request)
        return None if address is None else (address, _NO_LABELS)

    def _add(self, service: RpcService) -> None:
        if "smithy-rpc-v2-cbor" in service.protocols:
            self._cbor[service.target_prefix] = service, RpcV2Cbor(service)
        if "json" in service.protocols:
            self._json[service.target_prefix] = service, AwsJson(service)
        if "query" in service.protocols:
            self._query[service.version] = service, AwsQuery(service)

    def _by_name(self, request: HttpRequest) -> Address | None:
        match request.raw_path.split("/"):
            case ["", "service", service, "operation", operation] if request.method == "POST":
                return _address(self._cbor.get(service), operation)
            case ["", ""] if "x-amz-target" in request.headers and request.method == "POST":
                service, _, operation = request.headers["x-amz-target"].partition(".")
                return _address(self._json.get(service), operation)
            case ["", ""] if _has_form(request):
                parameters = form(request)
                spoken = self._query.get(parameters.get("Version", ""))
                return _address(spoken, parameters.get("Action", ""))
            case _:
                return None


def _rest(service: str, operation: str) -> Address:
    return Address(service=service, operation=operation, signing_name=BEDROCK, protocol=REST_JSON)


def _address(spoken: _Spoken | None, operation: str) -> Address | None:
    if spoken is None or not _NAME.fullmatch(operation):
        return None
    service, protocol = spoken
    return Address(
        service=service.name,
        operation=operation,
        signing_name=service.signing_name,
        protocol=protocol,
        rpc=protocol,
    )


def _has_form(request: HttpRequest) -> bool:
    if request.method == "GET":
        return "Action=" in request.query_string
    return request.method == "POST" and request.headers.get("content-type", "").startswith(FORM)
