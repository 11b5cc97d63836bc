"""One question to whoever serves the model, whatever the operation was called, and its events."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.model_server import Call
from outcrop.fleet.router import Candidate, Opened, Router
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.tags import TagsOf, untagged
from outcrop.runtime.conversation import asks_for_cache
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse
from outcrop.runtime.dialects.dialect import Asked, Dialect, Prompt
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.documents import formats_read, with_texts
from outcrop.runtime.estimates import estimate
from outcrop.runtime.events import Events, Metadata, as_aws_error
from outcrop.runtime.suited import suited
from outcrop.runtime.target import Target, Targets
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseStreamMetadataEvent,
    ConverseStreamMetrics,
    TokenUsage,
)
from outcrop.wire.timestamps import Clock, to_micros

_log = logging.getLogger(__name__)

DIALECTS: Mapping[str, Dialect] = {
    "openai": OpenAiChat(),
    "anthropic": AnthropicMessages(),
    "bedrock": BedrockConverse(),
    # Small models do not find an end by themselves: 512 tokens unless the caller says otherwise.
    "embedded": EmbeddedChat(system_prompt="You are a helpful assistant.", max_tokens=512),
}


class Inference:
    def __init__(
        self, targets: Targets, router: Router, *, clock: Clock, tags: TagsOf = untagged
    ) -> None:
        self._targets = targets
        self._tags = tags
        self._router = router
        self._clock = clock

    async def target(self, invocation: ModelInvocation, model_id: str) -> Target:
        """What the identifier stands for, or the exception that says why it stands for nothing."""
        target = await self._targets.resolve(invocation.caller, model_id)
        invocation.model_id = target.model_id
        invocation.foundation_model_id = target.foundation_model.model_id
        invocation.inference_profile_arn = target.inference_profile_arn
        invocation.provisioned_model_arn = target.provisioned_model_arn
        invocation.profile_id = target.profile_id
        if target.tagged_arn is not None:
            invocation.tags = await self._tags(target.tagged_arn)
        return target

    async def events(
        self,
        invocation: ModelInvocation,
        model_id: str,
        asked: Asked,
        *,
        target: Target | None = None,
    ) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them."""
        since = self._clock()
        if target is None:
            target = await self.target(invocation, model_id)
            _check_target(target)
        held = AsyncExitStack()
        try:
            candidates = suited(asked, target.candidates)
            opened = await self._opened(held, target, candidates, asked)
            invocation.served_by = served_by(opened.candidate, target)
            events = Events(
                held,
                opened.chunks,
                DIALECTS[opened.candidate.dialect],
                asked,
                invocation=invocation,
                metadata=self._metadata(asked, since),
            )
            await events.begin()
            invocation.estimate = lambda: estimate(asked, events.generated_characters())
            invocation.first_event_at = self._clock()
        except BaseException:
            await held.aclose()
            raise
        return events

    async def _opened(
        self, held: AsyncExitStack, target: Target, candidates: Sequence[Candidate], asked: Asked
    ) -> Opened:
        formats = set(map(formats_read, candidates))
        readable = {one: await with_texts(asked, but_for=one) for one in formats}

        def call_for(candidate: Candidate) -> Call:
            dialect = DIALECTS[candidate.dialect]
            question = readable[formats_read(candidate)]
            call = dialect.call(question, candidate.served_as, candidate.capabilities)
            return Call(call.path, call.body, call.headers)

        try:
            return await self._router.open(held, candidates, call_for)
        except ServerFailureError as failure:
            _log.warning("no model server answered: %s", failure)
            raise as_aws_error(failure, _dialect_of(failure, target), target.model_id) from failure

    def _metadata(self, asked: Asked, since: datetime) -> Metadata:
        conversation = None if isinstance(asked, Prompt) else asked
        caches = conversation is not None and asks_for_cache(conversation)

        def metadata(usage: TokenUsage) -> ConverseStreamMetadataEvent:
            latency_ms = (to_micros(self._clock()) - to_micros(since)) // 1000
            return ConverseStreamMetadataEvent(
                usage=usage if caches else _all_input(usage),
                metrics=ConverseStreamMetrics(latency_ms=latency_ms),
                performance_config=conversation.performance_config if conversation else None,
                service_tier=conversation.service_tier if conversation else None,
            )

        return metadata


def served_by(candidate: Candidate, target: Target) -> str:
    """`embedded; model="outcrop.smollm2-…"; stands-in-for="amazon.nova-lite-v1:0"`."""
    text = f'{candidate.server.name}; model="{candidate.served_as}"'
    if target.stands_in:
        text += f'; stands-in-for="{target.foundation_model.model_id}"'
    # A header is ASCII, a file's name need not be.
    return text.encode("ascii", "replace").decode()


def _check_target(target: Target) -> None:
    if not target.foundation_model.converses:
        raise ValidationException(
            "This action doesn't support the model that you provided. Try again with a supported"
            " text or chat model."
        )
    if not target.candidates:
        raise target.served_by_nobody


def _dialect_of(failure: ServerFailureError, target: Target) -> Dialect:
    names = {candidate.server.name: candidate.dialect for candidate in target.candidates}
    return DIALECTS[names[failure.server]]


def _all_input(usage: TokenUsage) -> TokenUsage:
    """Servers cache by themselves; Amazon tells cached input apart for those who asked for it."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return TokenUsage(
        input_tokens=usage.input_tokens + read + written,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
    )
