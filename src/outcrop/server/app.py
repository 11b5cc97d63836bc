"""The life of a request, top to bottom."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar

from msgspec import Struct

from outcrop.iam.access import Needs
from outcrop.iam.authenticator import Identified
from outcrop.iam.caller import Caller
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.denial import access_denied, statement_of
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.metering.audit import Audited, AuditTrail
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.measures import Measures
from outcrop.metering.recording import Recording
from outcrop.metering.snapshot import Meter
from outcrop.runtime.admission import SPILLOVER
from outcrop.runtime.explanation import EXPLAIN
from outcrop.server.frames import TRY_AGAIN, AnsweredStream, Frames
from outcrop.server.gate import decide, environment_of, may_be_denied
from outcrop.server.logs import RequestLine, RequestLog
from outcrop.server.refusals import new_request_id
from outcrop.store.errors import StoreError
from outcrop.wire.addresses import REST_JSON, Address, Addresses
from outcrop.wire.errors import (
    AccessDeniedException,
    AwsError,
    InternalServerException,
    ServiceUnavailableException,
    UnknownOperationException,
)
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.json_size import LARGE_BYTES
from outcrop.wire.operation import Operation, StreamOperation
from outcrop.wire.routes import unknown_operation
from outcrop.wire.rpc import RpcOperation
from outcrop.wire.shape import Shape
from outcrop.wire.shapes import bedrock, bedrock_runtime, ce, cloudwatch, sts
from outcrop.wire.timestamps import Clock, micros_between

InputT = TypeVar("InputT", bound=Shape)
OutputT = TypeVar("OutputT", bound=Shape)
EventT = TypeVar("EventT", bound=Shape)

Answer: TypeAlias = Callable[
    [HttpRequest, Mapping[str, str], Identified, "_Life"], Awaitable[HttpResponse]
]
UnsignedAnswer: TypeAlias = Callable[[HttpRequest, "_Life"], Awaitable[HttpResponse]]
Resources: TypeAlias = Callable[[Caller, InputT], Awaitable[Needs]]
"""What an input asks to be allowed."""
InvocationResources: TypeAlias = Callable[[ModelInvocation, InputT], Awaitable[Needs]]

SERVED_BY = "x-outcrop-served-by"
INFERENCE_REGION = "x-outcrop-inference-region"
SKIPPED = "x-outcrop-skipped"
BUDGET = "x-outcrop-budget"
# Of that one: whoever wants to know all of a bad day looks into the log.
LONGEST_SKIPPED = 512

_log = logging.getLogger(__name__)


class Authenticates(Protocol):
    async def authenticate(self, request: HttpRequest, service: str) -> Identified: ...


class App:
    def __init__(  # noqa: PLR0913 - each by its name
        self,
        authenticator: Authenticates,
        *,
        recording: Recording,
        request_log: RequestLog,
        clock: Clock,
        audit: AuditTrail | None = None,
        meter: Meter | None = None,
        policies: ResourcePolicies,
        is_secure: bool = False,
    ) -> None:
        """Without a meter, answers are not counted. `is_secure`: whether all comes over TLS."""
        self._policies = policies
        self._is_secure = is_secure
        rest = {
            "bedrock": bedrock.OPERATIONS,
            "bedrock-runtime": bedrock_runtime.OPERATIONS,
            EXPLAIN.service: ((EXPLAIN.name, EXPLAIN.method, EXPLAIN.uri),),
        }
        self._addresses = Addresses(rest, (cloudwatch.SERVICE, ce.SERVICE, sts.SERVICE))
        self._authenticator = authenticator
        self._recording = recording
        self._request_log = request_log
        self._audit = audit
        self._clock = clock
        self.meter = meter
        self._answers: dict[tuple[str, str], Answer] = {}
        self._unsigned: dict[tuple[str, str], UnsignedAnswer] = {}

    @property
    def served(self) -> frozenset[tuple[str, str]]:
        """The operations that have a handler: service and name."""
        return frozenset(self._answers) | frozenset(self._unsigned)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Every answer leaves here; whatever goes wrong becomes one of Amazon's errors."""
        life = _Life(request_id=new_request_id(), began_at=self._clock())
        answered: HttpResponse | AwsError
        try:
            answered = await self._answer(request, life)
        except AwsError as error:
            answered = error
        except StoreError:
            _log.exception("the store failed", extra={"request_id": life.request_id})
            answered = ServiceUnavailableException(TRY_AGAIN)
        except Exception:  # noqa: BLE001 - the one place where the unforeseen becomes an answer
            _log.exception("a request failed", extra={"request_id": life.request_id})
            answered = InternalServerException(TRY_AGAIN)
        except asyncio.CancelledError:
            self._cut_off(request, life)
            raise
        # Here, since what is compiled must not wait where it handles an exception (decision 16).
        if isinstance(answered, AwsError):
            response = await self._refused(answered, life)
        else:
            response = answered
        self._audit_call(request, life)
        response.headers["x-amzn-RequestId"] = life.request_id
        if self.meter:
            _count(self.meter.measures, response.status, life.address)
        if self._request_log.enabled:
            self._tell(request, response, life)
        return response

    def serve(
        self,
        operation: Operation[InputT, OutputT],
        handler: Callable[[Caller, InputT], Awaitable[OutputT]],
        *,
        resources: Resources[InputT],
    ) -> None:
        async def answer(
            request: HttpRequest, labels: Mapping[str, str], identified: Identified, life: "_Life"
        ) -> HttpResponse:
            life.input = value = operation.decode(request, labels)
            caller = identified.caller
            if self._asks(identified):
                needs = await resources(caller, value)
                self._require(operation.name, needs, request, identified, life)
            life.output = output = await handler(caller, value)
            return operation.encode(output)

        self._answers[operation.service, operation.name] = answer

    def serve_rpc(
        self,
        operation: RpcOperation[InputT, OutputT],
        handler: Callable[[Caller, InputT], Awaitable[OutputT]],
        *,
        resources: Resources[InputT],
    ) -> None:
        """As `serve`, in the protocol that the request speaks."""

        async def answer(
            request: HttpRequest, _: Mapping[str, str], identified: Identified, life: "_Life"
        ) -> HttpResponse:
            protocol = life.address and life.address.rpc
            assert protocol
            life.input = value = operation.decode(request, protocol)
            caller = identified.caller
            if not identified.authorizer.is_unrestricted:
                needs = await resources(caller, value)
                self._require(operation.name, needs, request, identified, life)
            life.output = output = await handler(caller, value)
            return operation.encode(output, protocol, life.request_id)

        self._answers[operation.service.name, operation.name] = answer

    def serve_model(
        self,
        operation: Operation[InputT, OutputT],
        handler: Callable[[ModelInvocation, InputT], Awaitable[OutputT]],
        *,
        resources: InvocationResources[InputT],
    ) -> None:
        """As `serve`, and recorded; the answer says which model server it comes from."""

        async def answer(
            request: HttpRequest, labels: Mapping[str, str], identified: Identified, life: "_Life"
        ) -> HttpResponse:
            invocation = self._begin(operation.name, identified.caller, request, life)
            if invocation.body_bytes > LARGE_BYTES:
                await asyncio.sleep(0)  # others have their turn
            value = operation.decode(request, labels)
            if self._asks(identified):
                needs = await resources(invocation, value)
                self._require(operation.name, needs, request, identified, life)
            output = await handler(invocation, value)
            response = operation.encode(output)
            if invocation.logged is not None and isinstance(response.body, bytes):
                invocation.logged.output_body = response.body
            await self._recording.ended(invocation)
            return _told(response, invocation)

        self._answers[operation.service, operation.name] = answer

    def serve_stream(
        self,
        operation: StreamOperation[InputT, EventT],
        handler: Callable[[ModelInvocation, InputT], Awaitable[AnsweredStream[EventT]]],
        *,
        resources: InvocationResources[InputT],
    ) -> None:
        """The handler returns when its first event exists: until then a failure is an answer."""

        async def answer(
            request: HttpRequest, labels: Mapping[str, str], identified: Identified, life: "_Life"
        ) -> HttpResponse:
            invocation = self._begin(operation.name, identified.caller, request, life)
            invocation.streamed = True
            if invocation.body_bytes > LARGE_BYTES:
                await asyncio.sleep(0)  # others have their turn
            value = operation.decode(request, labels)
            if self._asks(identified):
                needs = await resources(invocation, value)
                self._require(operation.name, needs, request, identified, life)
            answered = await handler(invocation, value)
            frames = Frames(operation, answered, invocation, self._recording)
            response = operation.encode(frames, answered.head)
            return _told(response, invocation)

        self._answers[operation.service, operation.name] = answer

    def serve_unsigned(
        self,
        operation: RpcOperation[InputT, OutputT],
        handler: Callable[[Environment, InputT, Callable[[Caller], None]], Awaitable[OutputT]],
    ) -> None:
        """Of a request that says by itself who sends it, and that nobody signs.

        The handler tells who that is as soon as it knows.
        """

        async def answer(request: HttpRequest, life: "_Life") -> HttpResponse:
            protocol = life.address and life.address.rpc
            assert protocol
            life.input = value = operation.decode(request, protocol)
            environment = environment_of(request, life.began_at, is_secure=self._is_secure)
            life.output = output = await handler(environment, value, life.identify)
            return operation.encode(output, protocol, life.request_id)

        self._unsigned[operation.service.name, operation.name] = answer

    def serve_root(
        self,
        operation: Operation[InputT, OutputT],
        handler: Callable[[Caller, InputT], Awaitable[OutputT]],
    ) -> None:
        """Of our own: policies do not know it, so that nobody but a root user may ask."""

        async def answer(
            request: HttpRequest, labels: Mapping[str, str], identified: Identified, _: "_Life"
        ) -> HttpResponse:
            if identified.authorizer.principal.type != "Account":
                raise AccessDeniedException(f"Only the root user may ask for {operation.name}.")
            value = operation.decode(request, labels)
            return operation.encode(await handler(identified.caller, value))

        self._answers[operation.service, operation.name] = answer

    def _asks(self, identified: Identified) -> bool:
        """Of a root user whom nothing limits, only what policies at resources say is asked."""
        return not identified.authorizer.is_unrestricted or self._policies.exist

    def _require(
        self,
        operation: str,
        needs: Needs,
        request: HttpRequest,
        identified: Identified,
        life: "_Life",
    ) -> None:
        """Raises AccessDeniedException."""
        if needs.is_free or not may_be_denied(identified, needs):
            return
        environment = environment_of(request, life.began_at, is_secure=self._is_secure)
        decision = decide(identified, operation, needs, environment)
        if self._request_log.enabled:
            life.decided_by = statement_of(decision)
        if not decision.allowed:
            raise access_denied(identified.authorizer.principal, decision)

    async def _answer(self, request: HttpRequest, life: "_Life") -> HttpResponse:
        found = self._addresses.find(request)
        if found is None:
            return unknown_operation()
        address, labels = found
        life.address = address
        served = address.service, address.operation
        unsigned = self._unsigned.get(served)
        if unsigned is not None:
            return await unsigned(request, life)
        identified = await self._authenticator.authenticate(request, address.signing_name)
        if self._policies.behind:
            await self._policies.refresh()
        if labels and self._policies.exist:
            identified = await self._policies.reaching(identified, labels)
        life.caller, life.access_key_id = identified.caller, identified.access_key_id
        answer = self._answers.get(served)
        if answer is None:
            raise UnknownOperationException(
                f"{address.operation} is not served by Outcrop. "
                "docs/compatibility.md lists the operations that are."
            )
        return await answer(request, labels, identified, life)

    def _begin(
        self, operation: str, caller: Caller, request: HttpRequest, life: "_Life"
    ) -> ModelInvocation:
        self._recording.admit()
        invocation = life.invoke(operation, caller, request)
        self._recording.began(invocation, request.body)
        return invocation

    async def _refused(self, error: AwsError, life: "_Life") -> HttpResponse:
        if life.invocation:
            try:
                await self._recording.ended(life.invocation, error)
            except AwsError as unrecorded:
                error = unrecorded
        life.error = error
        protocol = life.address.protocol if life.address else REST_JSON
        response = protocol.refusal(error, life.request_id)
        return _told(response, life.invocation) if life.invocation else response

    def _cut_off(self, request: HttpRequest, life: "_Life") -> None:
        if life.invocation:
            self._recording.cut_off(life.invocation)
        self._audit_call(request, life)

    def _audit_call(self, request: HttpRequest, life: "_Life") -> None:
        """Of callers that are who they say."""
        if self._audit is None or life.caller is None or life.address is None:
            return
        invocation = life.invocation
        if invocation is None:
            runtime = life.address.service == "bedrock-runtime"
            called = Audited(
                request_id=life.request_id,
                began_at=life.began_at,
                signing_name=life.address.signing_name,
                operation=life.address.operation,
                caller=life.caller,
                access_key_id=life.access_key_id,
                user_agent=request.headers.get("user-agent"),
                source_address=request.source_address,
                model_id=getattr(life.input, "model_id", None) if runtime else None,
                input=None if runtime else life.input,
                output=life.output,
                error=life.error,
                inference_region=None,
                changes=not runtime,
            )
            self._audit.add(called)
        elif not invocation.audited:
            invocation.error = life.error
            self._audit.add_invocations([invocation])

    def _tell(self, request: HttpRequest, response: HttpResponse, life: "_Life") -> None:
        now = self._clock()
        caller, invocation = life.caller, life.invocation
        self._request_log.add(
            RequestLine(
                time=now,
                request_id=life.request_id,
                method=request.method,
                operation=life.address.operation if life.address else None,
                status=response.status,
                duration_ms=micros_between(life.began_at, now) / 1000,
                error=life.error.name if life.error else None,
                account_id=caller.account_id if caller else None,
                region=caller.region if caller else None,
                principal=caller.arn if caller else None,
                decided_by=life.decided_by,
                model_id=invocation.model_id if invocation else None,
                served_by=invocation.served_by if invocation else None,
                inference_region=invocation.inference_region if invocation else None,
                skipped=invocation.skipped or None if invocation else None,
            )
        )


class _Life(Struct, kw_only=True):
    """What is known of one request while it is answered."""

    request_id: str
    began_at: datetime
    address: Address | None = None
    caller: Caller | None = None
    access_key_id: str | None = None
    invocation: ModelInvocation | None = None
    error: AwsError | None = None
    input: Shape | None = None
    """Of the control plane; what a model is asked is no part of any trail."""
    output: Shape | None = None
    decided_by: str | None = None
    """Which statement of which policy allowed or denied it."""

    def identify(self, caller: Caller) -> None:
        self.caller = caller

    def invoke(self, operation: str, caller: Caller, request: HttpRequest) -> ModelInvocation:
        made = ModelInvocation(self.request_id, operation, caller, self.began_at, request.headers)
        made.access_key_id = self.access_key_id
        made.source_address = request.source_address
        made.body_bytes = len(request.body)
        self.invocation = made
        return made


def _count(measures: Measures, status: int, address: Address | None) -> None:
    if address is None:
        measures.answered("", "", status)
    else:
        measures.answered(address.service, address.operation, status)


def _told(response: HttpResponse, invocation: ModelInvocation) -> HttpResponse:
    """What is our own to say of an answer."""
    if invocation.served_by is not None:
        response.headers[SERVED_BY] = invocation.served_by
    if invocation.inference_region is not None:
        response.headers[INFERENCE_REGION] = invocation.inference_region
    if invocation.budget is not None:
        response.headers[BUDGET] = invocation.budget
    if invocation.spilled_over:
        response.headers[SPILLOVER] = "on"
    return _with_skipped(response, invocation)


def _with_skipped(response: HttpResponse, invocation: ModelInvocation) -> HttpResponse:
    if invocation.skipped:
        text = ", ".join(invocation.skipped).encode("ascii", "replace").decode()
        response.headers[SKIPPED] = text[:LONGEST_SKIPPED]
    return response
