"""The life of a request, top to bottom."""

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from msgspec import Struct

from outcrop.iam.authenticator import Authenticator
from outcrop.iam.caller import Caller
from outcrop.server.logs import RequestLine, RequestLog
from outcrop.server.refusals import error_response, new_request_id
from outcrop.store.errors import StoreError
from outcrop.wire.errors import (
    AwsError,
    InternalServerException,
    ServiceUnavailableException,
    UnknownOperationException,
)
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.operation import Operation, StreamOperation
from outcrop.wire.routes import Routes, unknown_operation
from outcrop.wire.shape import Shape
from outcrop.wire.timestamps import Clock, to_micros

InputT = TypeVar("InputT", bound=Shape)
OutputT = TypeVar("OutputT", bound=Shape)
EventT = TypeVar("EventT", bound=Shape)

Answer: TypeAlias = Callable[[Caller, HttpRequest, Mapping[str, str]], Awaitable[HttpResponse]]

SERVED_BY = "x-outcrop-served-by"
# The lengths seen in Amazon's streams (docs: envoyproxy/ai-gateway, testupstream_test.go).
PADDING = range(2, 58)

_log = logging.getLogger(__name__)


class Answered(Protocol[OutputT]):
    """An output, and which model server it comes from."""

    @property
    def output(self) -> OutputT: ...
    @property
    def served_by(self) -> str: ...


class App:
    def __init__(
        self,
        operations: Sequence[tuple[str, str, str]],
        authenticator: Authenticator,
        *,
        request_log: RequestLog,
        clock: Clock,
    ) -> None:
        """`operations`: every operation known, served or not: name, method, URI."""
        self._routes = Routes((name, method, uri) for name, method, uri in operations)
        self._authenticator = authenticator
        self._request_log = request_log
        self._clock = clock
        self._answers: dict[str, Answer] = {}

    @property
    def served(self) -> frozenset[str]:
        """The names of the operations that have a handler."""
        return frozenset(self._answers)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Every answer leaves here; whatever goes wrong becomes one of Amazon's errors."""
        life = _Life(new_request_id(), self._clock())
        try:
            response = await self._answer(request, life)
        except AwsError as error:
            response = error_response(error, life.request_id)
            life.error = error.name
        except StoreError:
            _log.exception("store failed", extra={"request_id": life.request_id})
            response = error_response(_store_failed(), life.request_id)
            life.error = "ServiceUnavailableException"
        except Exception:  # the one place where the unforeseen becomes an answer
            _log.exception("request failed", extra={"request_id": life.request_id})
            response = error_response(_failed(), life.request_id)
            life.error = "InternalServerException"
        response.headers["x-amzn-RequestId"] = life.request_id
        if self._request_log.enabled:
            self._tell(request, response, life)
        return response

    async def _answer(self, request: HttpRequest, life: "_Life") -> HttpResponse:
        found = self._routes.match(request.method, request.raw_path)
        if found is None:
            return unknown_operation()
        life.operation, labels = found
        life.caller = await self._authenticator.authenticate(request)
        answer = self._answers.get(life.operation)
        if answer is None:
            raise UnknownOperationException(
                f"{life.operation} is not served by Outcrop. "
                "docs/compatibility.md lists the operations that are."
            )
        return await answer(life.caller, request, labels)

    def serve(
        self,
        operation: Operation[InputT, OutputT],
        handler: Callable[[Caller, InputT], Awaitable[OutputT]],
    ) -> None:
        async def answer(
            caller: Caller, request: HttpRequest, labels: Mapping[str, str]
        ) -> HttpResponse:
            return operation.encode(await handler(caller, operation.decode(request, labels)))

        self._answers[operation.name] = answer

    def _tell(self, request: HttpRequest, response: HttpResponse, life: "_Life") -> None:
        now = self._clock()
        caller = life.caller
        self._request_log.add(
            RequestLine(
                time=now,
                request_id=life.request_id,
                method=request.method,
                operation=life.operation,
                status=response.status,
                duration_ms=(to_micros(now) - to_micros(life.since)) / 1000,
                error=life.error,
                account_id=caller.account_id if caller else None,
                region=caller.region if caller else None,
                served_by=response.headers.get(SERVED_BY),
            )
        )
