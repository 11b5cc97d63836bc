"""What a token and a model unit cost: Amazon's list, and the operator's before it."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.resources import files

from msgspec import json

from outcrop.metering.config import Price
from outcrop.store.catalogue import without_context
from outcrop.store.usage_records import PICO_DOLLARS

Rates = tuple[int, int, int, int]
"""Pico-dollars for a token: input, output, cache read, cache write."""

FREE: Rates = (0, 0, 0, 0)
_PER_TOKEN = PICO_DOLLARS // 1000
_REMEMBERED = 10_000


class PriceList:
    """The operator's prices, and where those say nothing, Amazon's."""

    def __init__(self, own: Sequence[Price] = ()) -> None:
        books = (own, _amazons())
        self._of_tokens = [_Book([p for p in book if p.is_of_tokens]) for book in books]
        self._of_units = [_Book([p for p in book if p.is_of_units]) for book in books]
        self._rates: dict[tuple[str, str | None, str, str | None], Rates | None] = {}

    def rates(
        self, region: str, profile_id: str | None, model_id: str, service_tier: str | None
    ) -> Rates | None:
        """None: nobody has named a price. The price follows the source Region."""
        key = region, profile_id, model_id, service_tier
        if key not in self._rates:
            if len(self._rates) > _REMEMBERED:
                self._rates.clear()
            price = _price(self._of_tokens, region, profile_id, model_id)
            self._rates[key] = None if price is None else _rates(price, service_tier)
        return self._rates[key]

    def unit_hour(self, region: str, bought_id: str, commitment: str | None) -> Decimal | None:
        """US dollars for one model unit and hour; None: nobody has named a price."""
        price = _price(self._of_units, region, bought_id, without_context(bought_id))
        if price is None:
            return None
        committed = {
            "OneMonth": price.model_unit_hour_one_month,
            "SixMonths": price.model_unit_hour_six_months,
        }.get(commitment or "")
        return price.model_unit_hour if committed is None else committed


class _Book:
    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[str, list[Price]] = {}
        for price in prices:
            self._by_model.setdefault(price.model, []).append(price)
        for rows in self._by_model.values():
            # The nearest Region first; of two for the same, the last.
            rows.reverse()
            rows.sort(key=lambda price: len(price.region or ""), reverse=True)

    def find(self, model: str, region: str) -> Price | None:
        rows = self._by_model.get(model, ())
        return next((row for row in rows if region.startswith(row.region or "")), None)


def _price(
    books: Sequence[_Book], region: str, nearer_id: str | None, model_id: str
) -> Price | None:
    """What has a price of its own comes before its model: a profile, or a context length."""
    for book in books:
        for name in (nearer_id, model_id):
            price = None if name is None else book.find(name, region)
            if price is not None:
                return price
    return None


def _rates(price: Price, service_tier: str | None) -> Rates:
    factor = price.tier_multipliers.get(service_tier or "default", Decimal(1))
    read, write = price.cache_read_per_1k, price.cache_write_per_1k
    of_input = price.input_per_1k or Decimal(0)
    per_1k = (
        of_input,
        price.output_per_1k or Decimal(0),
        of_input if read is None else read,
        of_input if write is None else write,
    )
    first, second, third, fourth = (_pico(dollars * factor) for dollars in per_1k)
    return first, second, third, fourth


def _pico(dollars_per_1k: Decimal) -> int:
    """Of a token, to the nearest pico-dollar: a millionth of a dollar for a million tokens."""
    return int((dollars_per_1k * _PER_TOKEN).to_integral_value(ROUND_HALF_EVEN))


def _amazons() -> Sequence[Price]:
    data = files("outcrop.data").joinpath("prices.json").read_bytes()
    return json.decode(data, type=list[Price])
