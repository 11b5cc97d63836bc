"""Model units that are held, over all accounts: one sum a Region and model, moved with the status.

A provisioned model holds its units while it is InService or Updating. Whoever takes units of a
limited model first locks its Region: of all that buy at once, on any number of servers, each sees
what those before it took.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.errors import NoRoomError
from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.store.scopes import Scopes
from outcrop.wire.arn import Arn

KIND = "capacity"
EVERYWHERE = ""
"""In the place of a Region: all of them."""

Held = Mapping[tuple[str, str], int]
"""Region and model (as at the end of its ARN) to units."""

_TAKE = """
    INSERT INTO capacity_holds (region, model, units) VALUES ($1, $2, $3)
    ON CONFLICT (region, model) DO UPDATE SET units = capacity_holds.units + $3
"""
_GIVE_BACK = "UPDATE capacity_holds SET units = units - $3 WHERE region = $1 AND model = $2"
_HELD = "SELECT region, model, units FROM capacity_holds WHERE units > 0"
_HELD_IN = f"{_HELD} AND region = $1"


class Hold(Struct, frozen=True):
    region: str
    model: str
    """As at the end of its ARN: with a context length, or base model and custom model's id."""
    units: int


class Room(Protocol):
    """Who knows what the fleet can hold. Asked within a transaction, in any thread."""

    def regions(self, hold: Hold) -> Sequence[str]:
        """Those whose holds decide about this one, EVERYWHERE for all; empty: nothing limits it."""
        ...

    def refusal(self, held: Held, lost: Hold | None, won: Hold) -> str | None:
        """Why `won` has no room where `held` is held and `lost` is given up; None when it has."""
        ...


class RoomForAll:
    def regions(self, hold: Hold) -> Sequence[str]:  # noqa: ARG002 - a Room's
        return ()

    def refusal(self, held: Held, lost: Hold | None, won: Hold) -> str | None:  # noqa: ARG002
        return None


class Capacity:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks = Scopes(database, KIND)

    async def held(self) -> Held:
        return _held(await self._database.fetch(_HELD))

    async def move(
        self,
        transaction: Transaction,
        before: ProvisionedModelThroughputRecord,
        after: ProvisionedModelThroughputRecord | None,
        room: Room,
    ) -> None:
        """From what `before` holds to what `after` holds. Raises NoRoomError."""
        lost = hold_of(before)
        won = None if after is None else hold_of(after)
        if won is not None and won != lost:
            await self._require_room(transaction, room, lost, won)
        change = Counter[tuple[str, str]]()
        if won is not None:
            change[won.region, won.model] += won.units
        if lost is not None:
            change[lost.region, lost.model] -= lost.units
        # In one order, always: two that swap the same models do not wait for each other.
        for (region, model), units in sorted(change.items()):
            if units:
                sql = _TAKE if units > 0 else _GIVE_BACK
                await transaction.execute(sql, region, model, abs(units))

    async def _require_room(
        self, transaction: Transaction, room: Room, lost: Hold | None, won: Hold
    ) -> None:
        regions = sorted(room.regions(won))
        for region in regions:
            await self._locks.lock_or_add(transaction, "", region)
        if not regions:
            return
        rows = (
            await transaction.fetch(_HELD)
            if EVERYWHERE in regions
            else await transaction.fetch(_HELD_IN, won.region)
        )
        refusal = room.refusal(_held(rows), lost, won)
        if refusal is not None:
            raise NoRoomError(refusal)


def hold_of(record: ProvisionedModelThroughputRecord) -> Hold | None:
    """What the record holds as it stands. While Updating, the model as it was still answers."""
    if record.status not in {"InService", "Updating"}:
        return None
    return Hold(record.region, Arn.parse(record.model_arn).resource_id, record.model_units)


def _held(rows: Sequence[Row]) -> Held:
    return {(region, model): units for region, model, units in rows}
