"""Who serves which model in which Region, as of now."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from outcrop.fleet.pool import Candidate, Pool
from outcrop.store.catalogue import FoundationModel

ANYWHERE = ""
"""In a list of Regions: every Region, as in the ARN of a global profile's model."""


_NOWHERE: frozenset[str | None] = frozenset()


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
        self._pools: dict[tuple[str, tuple[str, ...], str], tuple[Pool, ...]] = {}
        self._stand_in: tuple[Pool, ...] = ()
        self._embedding_stand_in: tuple[Pool, ...] = ()
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
        for pools in (*self._pools.values(), self._stand_in, self._embedding_stand_in):
            _are_past(pools)
        self._by_model = by_model
        self._regions = {
            model_id: frozenset(candidate.region for candidate in serving)
            for model_id, serving in by_model.items()
        }
        self._stand_in = _alone(stand_in)
        self._embedding_stand_in = _alone(embedding_stand_in)
        # Made when they are first asked for, then kept: most Regions of most models never are.
        self._pools = {}
        self._changed()

    def watch(self, changed: Callable[[], object]) -> None:
        """`changed`, and nobody else, is called when something else may be served than before."""
        self._changed = changed

    def pools(self, model_id: str, regions: tuple[str, ...], source: str) -> Sequence[Pool]:
        """The source Region's servers, if it is one of `regions`; then all others', as one.

        Each server is in one of them; one without a Region is where the caller is.
        """
        key = (model_id, regions, source)
        pools = self._pools.get(key)
        if pools is None:
            pools = tuple(_pools(self._by_model.get(model_id, ()), regions, source))
            self._pools[key] = pools
        return pools

    def stand_in(self, model: FoundationModel) -> Sequence[Pool]:
        """Who answers for a model that nobody serves, where the configuration lets it."""
        if model.embeds_text:
            return self._embedding_stand_in
        return self._stand_in if model.converses else ()

    def serves(self, model: FoundationModel, region: str) -> bool:
        """Whether a call of the model in the Region would be answered: for the catalogue."""
        served_in = self._regions.get(model.model_id, _NOWHERE)
        return not served_in.isdisjoint({None, region}) or bool(self.stand_in(model))


def _pools(serving: Sequence[Candidate], regions: tuple[str, ...], source: str) -> Iterator[Pool]:
    at_hand = {None, source} if source in regions else set[str | None]()
    near = [found for found in serving if found.region in at_hand]
    if near:
        yield Pool.of(near, source)
    others = (found for found in serving if found.region not in at_hand)
    far = [found for found in others if _is_in(regions, found.region)]
    if far:
        yield Pool.of(far)


def _are_past(pools: Sequence[Pool]) -> None:
    for pool in pools:
        for group in pool.groups:
            group.past = True


def _is_in(regions: tuple[str, ...], region: str | None) -> bool:
    return region is None or ANYWHERE in regions or region in regions


def _alone(candidate: Candidate | None) -> tuple[Pool, ...]:
    return () if candidate is None else (Pool.of([candidate]),)


def _nobody_looks() -> None:
    pass
