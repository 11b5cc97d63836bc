"""CountTokens: how many tokens an input is to the model that would read it."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.model_server import Call
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Attempt, Request, Router
from outcrop.iam.caller import Caller
from outcrop.runtime.able import UnableError, first_able
from outcrop.runtime.conversation import check
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse
from outcrop.runtime.dialects.dialect import Asked, Complaint
from outcrop.runtime.dialects.token_counts import (
    EmbeddedCounter,
    OpenAiCounter,
    OwnCounter,
    TokenCounter,
    Way,
)
from outcrop.runtime.document_reader import DocumentReader
from outcrop.runtime.documents import formats_read, with_texts
from outcrop.runtime.embeddings import answer_of
from outcrop.runtime.failures import of_complaint, told_when
from outcrop.runtime.families.table import family_of
from outcrop.runtime.inference import DIALECTS
from outcrop.runtime.suited import suited
from outcrop.runtime.target import Target, Targets
from outcrop.wire.errors import AwsError, ServiceUnavailableException, ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseTokensRequest,
    CountTokensRequest,
    CountTokensResponse,
)

_log = logging.getLogger(__name__)

# It may count well: ask again.
_BUSY = {429, 503, 529}

COUNTERS: Mapping[str, TokenCounter] = {
    "anthropic": OwnCounter(AnthropicMessages(), member="input_tokens"),
    "bedrock": OwnCounter(BedrockConverse(), member="inputTokens"),
    "embedded": EmbeddedCounter(DIALECTS["embedded"]),
    "openai": OpenAiCounter(),
}


class CountTokens:
    def __init__(
        self, targets: Targets, router: Router, documents: DocumentReader | None = None
    ) -> None:
        self._targets = targets
        self._router = router
        self._documents = documents or DocumentReader()

    async def count_tokens(
        self, caller: Caller, request: CountTokensRequest
    ) -> CountTokensResponse:
        """A count of the model's own tokenizer or a refusal, never an estimate."""
        target = await self._targets.resolve_for_counting(caller, request.model_id)
        asked = _asked(request, target)
        if not target.pools:
            raise target.served_by_nobody

        async def put_to(attempt: Attempt) -> int:
            async with aclosing(attempt):
                return await self._counted_by(attempt.candidate, asked)

        try:
            whose = Request(account_id=caller.account_id)
            count = await first_able(self._router, suited(asked, target.pools), put_to, whose)
        except ServerFailureError as failure:
            _log.info("no count of tokens: %s", failure)
            raise _as_aws_error(failure, target.model_id) from failure
        return CountTokensResponse(input_tokens=count)

    async def _counted_by(self, candidate: Candidate, asked: Asked) -> int:
        """Raises ServerFailureError and UnableError."""
        for way in await self._ways(candidate, asked):
            count = await _counted(candidate, way)
            if count is not None:
                return count
        raise ServerFailureError(candidate.server.name, FailureKind.UNABLE, "it counts no tokens")

    async def _ways(self, candidate: Candidate, asked: Asked) -> Sequence[Way]:
        counter = COUNTERS.get(candidate.dialect)
        if counter is None:
            return ()
        try:
            readable = await with_texts(asked, formats_read(candidate), self._documents)
            return counter.ways(readable, candidate.served_as, candidate.capabilities)
        except ValidationException as refusal:
            raise UnableError(candidate, refusal) from refusal


async def _counted(candidate: Candidate, way: Way) -> int | None:
    call = Call(way.call.path, way.call.body, way.call.headers)
    try:
        return way.counted(await answer_of(candidate, call))
    except ServerFailureError as failure:
        # Any other status: servers refuse what they do not know in many ways.
        if failure.kind is FailureKind.STATUS and failure.status not in _BUSY:
            return None
        raise


def _as_aws_error(failure: ServerFailureError, model_id: str) -> AwsError:
    if failure.kind is FailureKind.UNABLE:
        # The text is Amazon's for every model but some of Anthropic's.
        return ValidationException("The provided model doesn't support counting tokens.")
    if failure.status is not None:
        complaint = Complaint(failure.status, failure.detail)
        return told_when(of_complaint(complaint, model_id), failure)
    return ServiceUnavailableException("Bedrock is unable to process your request.")


def _asked(request: CountTokensRequest, target: Target) -> Asked:
    if request.input.converse is not None:
        conversation = _conversation(request.model_id, request.input.converse)
        check(conversation)
        return conversation
    assert request.input.invoke_model is not None, "a union has one member"
    family = family_of(target.foundation_model.native_model_id)
    if family is None:
        raise ValidationException("The provided model doesn't support counting tokens.")
    return family.asked(request.input.invoke_model.body, request.model_id, streaming=False)


def _conversation(model_id: str, counted: ConverseTokensRequest) -> ConverseRequest:
    return ConverseRequest(
        model_id=model_id,
        messages=counted.messages,
        system=counted.system,
        tool_config=counted.tool_config,
        additional_model_request_fields=counted.additional_model_request_fields,
    )
