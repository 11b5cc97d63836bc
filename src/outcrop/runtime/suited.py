"""Who of those who serve a model can do all that is asked."""

from collections.abc import Sequence

from outcrop.fleet.router import Candidate
from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.dialects.refusals import refusal


def suited(asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """In their order. Raises ValidationException, in the words of the first, if nobody can."""
    refusals = [refusal(asked, candidate.capabilities) for candidate in candidates]
    able = [one for one, refused in zip(candidates, refusals, strict=True) if refused is None]
    if not able:
        raise next(refused for refused in refusals if refused is not None)
    return able
