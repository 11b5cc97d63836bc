"""What the fleet can hold of what is sold: the store's question, answered from the model units."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from outcrop.fleet.units import Place, Units
from outcrop.store.capacity import EVERYWHERE, Held, Hold
from outcrop.store.catalogue import CustomModel, without_context


class FleetRoom:
    def __init__(self, units: Units, *, custom_models: Sequence[CustomModel] = ()) -> None:
        self._units = units
        self._custom_names = {
            model.custom_model_id: model.custom_model_name for model in custom_models
        }

    def model_id(self, model: str) -> str:
        """Whose units a model takes that was bought as `model`, the end of its ARN."""
        base, _, custom_model_id = model.partition("/")
        if custom_model_id:
            # One that the configuration no longer names still was bought on this base.
            return self._custom_names.get(custom_model_id, base)
        return without_context(base)

    def sold(self, held: Held) -> Mapping[Place, int]:
        sold = Counter[Place]()
        for (region, model), units in held.items():
            sold[region, self.model_id(model)] += units
        return sold

    def regions(self, hold: Hold) -> Sequence[str]:
        if not self._units.limits(self.model_id(hold.model)):
            return ()
        # A server without a Region is sold in all of them.
        return (hold.region, EVERYWHERE) if self._units.shared else (hold.region,)

    def refusal(self, held: Held, lost: Hold | None, won: Hold) -> str | None:
        place = (won.region, self.model_id(won.model))
        sold = self.sold(held)
        after = Counter(sold)
        after[place] += won.units
        if lost is not None:
            after[lost.region, self.model_id(lost.model)] -= lost.units
        lacking = self._units.lacking(place, after)
        if lacking == 0:
            return None
        if lost is not None and lacking <= self._units.lacking(place, sold):
            # Too much was sold before, by an older configuration: this makes it no worse.
            return None
        return self._shortage(place, sold, won.units)

    def oversold(self, held: Held) -> Iterator[str]:
        """What was acknowledged and nobody holds any more, a sentence for each place."""
        sold = self.sold(held)
        for place, units in sorted(sold.items()):
            region, model_id = place
            supply = self._units.supply(model_id, region)
            if supply is not None and self._units.lacking(place, sold) > 0:
                yield (
                    f"{units} model units of {model_id} are sold in {region}, whose model servers"
                    f" hold {supply} of it, and what they hold does not do for all that is sold"
                )

    def _shortage(self, place: Place, sold: Mapping[Place, int], wanted: int) -> str:
        region, model_id = place
        supply = self._units.supply(model_id, region) or 0
        reserved, free = sold.get(place, 0), self._units.free(model_id, region, sold) or 0
        shared = "" if reserved + free >= supply else " The rest is taken by what shares them."
        return (
            f"{wanted} model units of {model_id} requested in {region}; its model servers hold"
            f" {supply}, of which {reserved} are reserved and {free} are free.{shared}"
        )
