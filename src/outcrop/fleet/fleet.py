"""Who serves which model in which Region, as of now."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from outcrop.fleet.router import Candidate
from outcrop.store.catalogue import FoundationModel

ANYWHERE = ""
"""In a list of Regions: every Region, as in the ARN of a global profile's model."""


class Served(Struct, frozen=True):
    """One model on one server."""

    model_id: str
    candidate: Candidate


class Fleet:
    """What it is asked about lasts for a call: `replace` changes the answers to later ones."""

    def __init__(
        self,
        served: Iterable[Served],
        stand_in: Candidate | None,
        embedding_stand_in: Candidate | None = None,
    ) -> None:
        self._changed: Callable[[], object] = _nobody_looks
        self.replace(served, stand_in, embedding_stand_in)

    def replace(
        self,
        served: Iterable[Served],
        stand_in: Candidate | None,
        embedding_stand_in: Candidate | None = None,
    ) -> None:
        by_model: dict[str, list[Candidate]] = {}
        for row in served:
            by_model.setdefault(row.model_id, []).append(row.candidate)
        self._by_model = by_model
        self._stand_in = stand_in
        self._embedding_stand_in = embedding_stand_in
        self._changed()

    def watch(self, changed: Callable[[], object]) -> None:
        """`changed`, and nobody else, is called when something else may be served than before."""
        self._changed = changed

    def candidates(self, model_id: str, regions: Sequence[str]) -> Sequence[Candidate]:
        """In the order of `regions`, each at most once; a server without a Region is in all."""
        serving = self._by_model.get(model_id)
        if serving is None:
            return ()
        return tuple(dict.fromkeys(_in_order(serving, regions)))

    def stand_in(self, model: FoundationModel) -> Candidate | None:
        """Who answers for a model that nobody serves, where the configuration lets it."""
        if model.embeds_text:
            return self._embedding_stand_in
        return self._stand_in if model.converses else None

    def serves(self, model: FoundationModel, region: str) -> bool:
        """Whether a call of the model in the Region would be answered: for the catalogue."""
        return bool(self.candidates(model.model_id, (region,)) or self.stand_in(model))


def _in_order(serving: Sequence[Candidate], regions: Sequence[str]) -> Iterator[Candidate]:
    for region in regions:
        for candidate in serving:
            if region == ANYWHERE or candidate.region in {None, region}:
                yield candidate


def _nobody_looks() -> None:
    pass
