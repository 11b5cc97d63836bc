"""Embeddings: the texts of one call to whoever serves the model, its vectors as wanted."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from msgspec import Struct

from outcrop.fleet.embedded_engine import EMBEDDING_TOKENS
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.model_server import Calling, whole
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Attempt, Request, Router
from outcrop.fleet.waiting_room import Rank
from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.admission import Admission
from outcrop.runtime.dialects.bedrock_events import complaint as bedrock_complaint
from outcrop.runtime.dialects.bedrock_invoke import input_tokens, relayed
from outcrop.runtime.dialects.dialect import Call, Complaint, ComplaintError
from outcrop.runtime.dialects.openai_embeddings import (
    EmbeddedEmbeddings,
    EmbeddingsDialect,
    OpenAiEmbeddings,
    Passage,
    Vectors,
)
from outcrop.runtime.estimates import tokens_of_text
from outcrop.runtime.failures import of_complaint, of_silence, told_when
from outcrop.runtime.families.embedding import EmbeddingFamily, Wanted
from outcrop.runtime.families.family import Invocation
from outcrop.runtime.inference import tell_who_serves
from outcrop.runtime.passages import TooLongError, cut, surely_fit
from outcrop.runtime.target import Target
from outcrop.wire.errors import AwsError, ValidationException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage

_log = logging.getLogger(__name__)

DIALECTS: Mapping[str, EmbeddingsDialect] = {
    "openai": OpenAiEmbeddings(),
    "embedded": EmbeddedEmbeddings(most_tokens=EMBEDDING_TOKENS),
}

# Its bodies are the caller's already.
_RELAYED = "bedrock"
_ABLE = frozenset({_RELAYED, *DIALECTS})


class Embedded(Struct, frozen=True):
    """The family's answer."""

    body: bytes
    input_tokens: int | None


class _Question(Struct, frozen=True):
    target: Target
    family: EmbeddingFamily
    wanted: Wanted
    native: Invocation
    invocation: ModelInvocation

    def tell(self, candidate: Candidate, tokens: int | None) -> None:
        tell_who_serves(self.invocation, candidate, self.target)
        self.invocation.embeds = True
        if tokens is not None:
            self.invocation.usage = TokenUsage(
                input_tokens=tokens, output_tokens=0, total_tokens=tokens
            )


class _Answered(Struct, frozen=True):
    vectors: Vectors
    shortened: bool
    """Whether it was asked for fewer dimensions than its model has."""


class Embeddings:
    def __init__(self, admission: Admission, router: Router) -> None:
        self._admission = admission
        self._router = router
        self._sizes: dict[tuple[str, str], int] = {}
        """Dimensions that a server's model has when nobody asks for fewer, once seen."""

    async def invoke(
        self,
        invocation: ModelInvocation,
        target: Target,
        family: EmbeddingFamily,
        native: Invocation,
    ) -> Embedded:
        """The answer to a native body, or the exception that says why not."""
        invocation.embeds = True
        question = _Question(target, family, family.wanted(native.body), native, invocation)
        pools = _able(target)
        admitted = await self._admission.admit(
            invocation, target, tokens_in=tokens_of_text(len(native.body)), tokens_out=0
        )
        try:
            return await self._first_answer(pools, question, admitted.rank)
        except TooLongError as error:
            raise family.too_long(error.most_tokens, error.tokens) from error
        except (ServerFailureError, ComplaintError) as error:
            _log.warning("no model server gave embeddings: %s", error)
            raise _as_aws_error(error, target) from error
        finally:
            admitted.settle()

    async def _first_answer(
        self, pools: Sequence[Pool], question: "_Question", rank: Rank
    ) -> Embedded:
        async def put_to(attempt: Attempt) -> Embedded:
            async with aclosing(attempt):
                embedded = await self._embedded(attempt.candidate, question)
                attempt.answered()
            return embedded

        invocation = question.invocation
        request = Request(rank=rank, skipped=invocation.skipped, trace=invocation.trace)
        return await self._router.first(pools, put_to, request)

    async def _embedded(self, candidate: Candidate, question: "_Question") -> Embedded:
        if candidate.dialect == _RELAYED:
            return await self._relayed(candidate, question)
        wanted, family = question.wanted, question.family
        answered = await self._answered(candidate, wanted)
        vectors = Vectors(
            [_as_wanted(vector, wanted) for vector in answered.vectors.vectors],
            answered.vectors.input_tokens,
        )
        question.tell(candidate, vectors.input_tokens)
        return Embedded(family.response(vectors, question.native), vectors.input_tokens)

    async def _relayed(self, candidate: Candidate, question: "_Question") -> Embedded:
        """Amazon takes the body as it is, and answers as the family does."""
        body = await answer_of(candidate, relayed(question.native.body, candidate.served_as))
        tokens = input_tokens(body)
        question.tell(candidate, tokens)
        return Embedded(body, tokens)

    async def _answered(self, candidate: Candidate, wanted: Wanted) -> _Answered:
        passages: Sequence[Passage] = wanted.texts
        if wanted.max_tokens is not None and not surely_fit(wanted.texts, wanted.max_tokens):
            passages = await self._cut(candidate, wanted)
        try:
            answered = await self._ask(candidate, passages, wanted)
        except ServerFailureError as failure:
            countable = DIALECTS[candidate.dialect].tokenizer is not None
            if not (countable and _says_too_long(failure, candidate)):
                raise
            passages = await self._cut(candidate, wanted)
            answered = await self._ask(candidate, passages, wanted)
        return await self._shortened(candidate, answered, passages, wanted)

    async def _cut(self, candidate: Candidate, wanted: Wanted) -> Sequence[Passage]:
        async def ask(call: Call) -> bytes:
            return await answer_of(candidate, call)

        return await cut(wanted, DIALECTS[candidate.dialect].tokenizer, ask)

    async def _shortened(
        self,
        candidate: Candidate,
        answered: _Answered,
        passages: Sequence[Passage],
        wanted: Wanted,
    ) -> _Answered:
        """Not longer than wanted: the model knows how to leave dimensions out, we do not."""
        size = len(answered.vectors.vectors[0])
        if size <= wanted.dimensions:
            return answered
        if answered.shortened or not DIALECTS[candidate.dialect].shortens:
            raise _too_many_dimensions(candidate, size, wanted)
        self._sizes[_key(candidate)] = size
        again = await self._ask(candidate, passages, wanted)
        return await self._shortened(candidate, again, passages, wanted)

    async def _ask(
        self, candidate: Candidate, passages: Sequence[Passage], wanted: Wanted
    ) -> _Answered:
        # Another request may learn more meanwhile; what counts is what this one asks.
        longer = self._sizes.get(_key(candidate), 0) > wanted.dimensions
        dialect = DIALECTS[candidate.dialect]
        call = dialect.call(
            passages,
            candidate.served_as,
            dimensions=wanted.dimensions if longer else None,
            normalize=wanted.normalize,
        )
        body = await answer_of(candidate, call)
        return _Answered(dialect.vectors(body, len(passages)), shortened=longer)


async def answer_of(candidate: Candidate, call: Calling) -> bytes:
    """The whole answer: one that breaks off has been seen by nobody."""
    async with candidate.server.open(call) as chunks:
        return await whole(candidate.server.name, chunks)


def _able(target: Target) -> Sequence[Pool]:
    """Who can embed at all."""
    kept = [pool.only(lambda kind: kind.dialect in _ABLE) for pool in target.pools]
    able = [pool for pool in kept if pool is not None]
    if not able:
        raise target.served_by_nobody
    return able


def _says_too_long(failure: ServerFailureError, candidate: Candidate) -> bool:
    if failure.kind is not FailureKind.STATUS or failure.status is None:
        return False
    complaint = DIALECTS[candidate.dialect].complaint(failure.status, failure.body)
    return complaint.input_too_long


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.server.name, candidate.served_as


def _as_wanted(vector: list[float], wanted: Wanted) -> list[float]:
    """Zeros after the last dimension change no length, no distance and no cosine."""
    if wanted.normalize:
        vector = _normalized(vector)
    return [*vector, *[0.0] * (wanted.dimensions - len(vector))]


def _normalized(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    # What a server has normalised stays as it is, to the last digit.
    if length == 0 or math.isclose(length, 1, abs_tol=1e-6):
        return vector
    return [component / length for component in vector]


def _too_many_dimensions(candidate: Candidate, size: int, wanted: Wanted) -> ValidationException:
    return ValidationException(
        f"The model returned the following errors: {candidate.served_as} answers with {size}"
        f" dimensions and cannot be asked for {wanted.dimensions}"
    )


def _as_aws_error(error: ServerFailureError | ComplaintError, target: Target) -> AwsError:
    if isinstance(error, ComplaintError):
        return _of_complaint(error.complaint, target)
    if error.kind is FailureKind.STATUS and error.status is not None:
        seats = (pool.seat(error.server) for pool in target.pools)
        dialect = next(filter(None, seats)).candidate.dialect
        complaint = bedrock_complaint if dialect == _RELAYED else DIALECTS[dialect].complaint
        return told_when(_of_complaint(complaint(error.status, error.body), target), error)
    return of_silence(error)


def _of_complaint(complaint: Complaint, target: Target) -> AwsError:
    return complaint.error or of_complaint(complaint, target.model_id)
