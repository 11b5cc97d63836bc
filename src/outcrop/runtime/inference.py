"""One question to whoever serves the model, whatever the operation was called, and its events."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from outcrop.fleet.affinity import Prefix, conversation_prefix, prompt_prefix
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Attempt, Request, Router
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.tags import TagsOf, untagged
from outcrop.runtime.able import UnableError, first_able
from outcrop.runtime.admission import Admission, Admitted
from outcrop.runtime.conversation import asks_for_cache
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse
from outcrop.runtime.dialects.dialect import Asked, Call, Dialect, Prompt
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.document_reader import DocumentReader
from outcrop.runtime.documents import Readable, formats_read, has_documents, readable
from outcrop.runtime.estimates import estimate, tokens_in, tokens_out
from outcrop.runtime.events import Events, Metadata, as_aws_error
from outcrop.runtime.suited import suited
from outcrop.runtime.target import Target, Targets
from outcrop.wire.errors import AwsError, ValidationException
from outcrop.wire.json_size import LARGE_BYTES
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseStreamMetadataEvent,
    ConverseStreamMetrics,
    TokenUsage,
)
from outcrop.wire.timestamps import Clock

_MILLISECOND = timedelta(milliseconds=1)

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
        self,
        targets: Targets,
        admission: Admission,
        router: Router,
        *,
        clock: Clock,
        tags: TagsOf = untagged,
        documents: DocumentReader | None = None,
    ) -> None:
        self._targets = targets
        self._admission = admission
        self._tags = tags
        self._router = router
        self._clock = clock
        self._documents = documents or DocumentReader()

    async def target(self, invocation: ModelInvocation, model_id: str) -> Target:
        """What the identifier stands for, or the exception that says why it stands for nothing."""
        # Nearly always None, of which isinstance takes long to say no.
        if type(invocation.target) is Target:
            return invocation.target
        target = await self._targets.resolve(invocation.caller, model_id)
        invocation.target = target
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
        whole: bool = False,
    ) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them.

        `whole`: they are wanted all at once; text that came at once is then one event.
        """
        since = self._clock()
        await let_others(invocation)
        if target is None:
            target = await self.target(invocation, model_id)
            _check_target(target)
        pools = suited(asked, target.pools)
        admitted = await self._admission.admit(
            invocation,
            target,
            tokens_in=tokens_in(asked, invocation.body_bytes),
            tokens_out=tokens_out(asked),
        )
        try:
            question = _Question(
                invocation=invocation,
                target=target,
                asked=asked,
                whole=whole,
                readable=await self._readable(asked, pools) if has_documents(asked) else {},
                metadata=self._metadata(asked, since),
                admitted=admitted,
            )
            events = await first_able(self._router, pools, question.put_to, question.request())
        except BaseException as error:
            admitted.settle()
            if isinstance(error, ServerFailureError):
                raise _told(error, target) from error
            raise
        invocation.first_event_at = self._clock()
        return events

    async def _readable(self, asked: Asked, pools: Sequence[Pool]) -> Readable:
        """Before any server is asked: taking text out of files may take long."""
        formats = {formats_read(group.kind) for pool in pools for group in pool.groups}
        return await readable(asked, formats, self._documents)

    def _metadata(self, asked: Asked, since: datetime) -> Metadata:
        conversation = None if type(asked) is Prompt else asked
        caches = conversation is not None and asks_for_cache(conversation)

        def metadata(usage: TokenUsage) -> ConverseStreamMetadataEvent:
            latency_ms = (self._clock() - since) // _MILLISECOND
            return ConverseStreamMetadataEvent(
                usage=usage if caches else _all_input(usage),
                metrics=ConverseStreamMetrics(latency_ms=latency_ms),
                performance_config=conversation.performance_config if conversation else None,
                service_tier=conversation.service_tier if conversation else None,
            )

        return metadata


class _Question(Struct, frozen=True, kw_only=True):
    """What is asked of one server after the other until one answers."""

    invocation: ModelInvocation
    target: Target
    asked: Asked
    whole: bool
    """Whether the events are wanted all at once."""
    readable: Readable
    """Empty if it has no file."""
    metadata: Metadata
    admitted: Admitted

    def request(self) -> Request:
        """What the router is told of it."""
        return Request(
            rank=self.admitted.rank,
            pools=self.pools_now,
            prefix=_prefix(self.asked, self.target),
            skipped=self.invocation.skipped,
            trace=self.invocation.trace,
        )

    def pools_now(self) -> Sequence[Pool]:
        """Of those who serve the model by now, those who can do what is asked."""
        pools = self.target.pools_now()
        if not pools:
            raise self.target.served_by_nobody
        pools = suited(self.asked, pools)
        if not self.readable:
            return pools
        kept = (pool.only(lambda kind: formats_read(kind) in self.readable) for pool in pools)
        return [pool for pool in kept if pool is not None]

    async def put_to(self, attempt: Attempt) -> Events:
        """Its events, from the first one on; they hold the attempt. Raises UnableError."""
        candidate = attempt.candidate
        dialect = DIALECTS[candidate.dialect]
        await let_others(self.invocation)
        try:
            call = self._call(candidate, dialect)
        except ValidationException as refusal:
            raise UnableError(candidate, refusal) from refusal
        await let_others(self.invocation)
        chunks = await attempt.open(call)
        events = Events(
            attempt,
            chunks,
            dialect,
            dialect.reader(self.asked, whole=self.whole),
            admitted=self.admitted,
            metadata=self.metadata,
        )
        await events.begin()
        # Not of the events: they know the invocation, and a circle keeps the request in memory.
        self.invocation.estimate = partial(estimate, self.asked, events.generated)
        tell_who_serves(self.invocation, candidate, self.target)
        return events

    def _call(self, candidate: Candidate, dialect: Dialect) -> Call:
        asked = self.readable[formats_read(candidate)] if self.readable else self.asked
        if isinstance(asked, ValidationException):
            raise asked
        return dialect.call(asked, candidate.served_as, candidate.capabilities)


def tell_who_serves(invocation: ModelInvocation, candidate: Candidate, target: Target) -> None:
    invocation.served_by = served_by(candidate, target)
    invocation.inference_region = candidate.region or invocation.caller.region


def served_by(candidate: Candidate, target: Target) -> str:
    """`embedded; model="outcrop.smollm2-…"; stands-in-for="amazon.nova-lite-v1:0"`."""
    text = f'{candidate.server.name}; model="{candidate.served_as}"'
    if target.stands_in:
        text += f'; stands-in-for="{target.foundation_model.model_id}"'
    # A header is ASCII, a file's name need not be.
    return text if text.isascii() else text.encode("ascii", "replace").decode()


def _check_target(target: Target) -> None:
    if not target.foundation_model.converses:
        raise ValidationException(
            "This action doesn't support the model that you provided. Try again with a supported"
            " text or chat model."
        )
    if not target.pools:
        raise target.served_by_nobody


def _told(failure: ServerFailureError, target: Target) -> AwsError:
    """What the caller gets when nobody has answered."""
    _log.warning("no model server answered: %s", failure)
    return as_aws_error(failure, _dialect_of(failure, target), target.model_id)


def _dialect_of(failure: ServerFailureError, target: Target) -> Dialect:
    seat = next(filter(None, (pool.seat(failure.server) for pool in target.pools)))
    return DIALECTS[seat.candidate.dialect]


def _prefix(asked: Asked, target: Target) -> Prefix | None:
    """By what the model reads, whatever the operation was called."""
    model_id = target.foundation_model.model_id
    if type(asked) is Prompt:
        return prompt_prefix(model_id, asked.prompt)
    return conversation_prefix(model_id, asked.system or (), asked.messages or ())


def _all_input(usage: TokenUsage) -> TokenUsage:
    """Servers cache by themselves; Amazon tells cached input apart for those who asked for it."""
    if usage.cache_read_input_tokens is None and usage.cache_write_input_tokens is None:
        return usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return TokenUsage(
        input_tokens=usage.input_tokens + read + written,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
    )


async def let_others(invocation: ModelInvocation) -> None:
    """Other requests have their turn between the steps of one whose body is large."""
    if invocation.body_bytes > LARGE_BYTES:
        await asyncio.sleep(0)
