"""What an identifier would do now, and why: Outcrop's own operation, for `outcrop explain`."""

import asyncio
from collections.abc import Sequence

from outcrop.fleet.pool import Pool, Seat
from outcrop.iam.caller import Caller
from outcrop.runtime.target import Target, Targets
from outcrop.wire.operation import Operation
from outcrop.wire.shape import Shape


class ExplainRequest(Shape, frozen=True, kw_only=True):
    model_id: str


class ServerNow(Shape, frozen=True, kw_only=True):
    name: str
    region: str | None = None
    """None: it belongs to every Region."""
    served_as: str
    dialect: str
    health: str
    """`healthy`, `resting`, `ejected`, `on trial` or `not ready`."""
    why: str | None = None
    """What was wrong last, while it is not healthy; or why it is not ready."""
    left_alone_for_s: float | None = None
    in_flight: int
    most_in_flight: int | None = None
    weight: float
    first_byte_s: float | None = None
    """Lately, of this model; None: it was not asked for a minute."""
    may_be_asked: bool


class PoolNow(Shape, frozen=True, kw_only=True):
    """Servers that a request chooses among freely, those it prefers first."""

    region: str | None = None
    """None: all of the other Regions."""
    servers: list[ServerNow]


class Explanation(Shape, frozen=True, kw_only=True):
    model_id: str
    foundation_model_id: str
    inference_profile_arn: str | None = None
    provisioned_model_arn: str | None = None
    stands_in: bool
    regions: list[str]
    """In their order; empty text: every Region."""
    pools: list[PoolNow]
    asked_first: str | None = None
    because: str


EXPLAIN: Operation[ExplainRequest, Explanation] = Operation(
    "Explain",
    service="outcrop",
    method="GET",
    uri="/outcrop/explain",
    input_type=ExplainRequest,
    query={"modelId": "modelId"},
    output_type=Explanation,
    status=200,
)


class Explain:
    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def explain(self, caller: Caller, request: ExplainRequest) -> Explanation:
        """Raises what a call of the model would be refused with."""
        target = await self._targets.resolve(caller, request.model_id)
        now = asyncio.get_running_loop().time()
        first = _first(target.pools, now)
        return Explanation(
            model_id=target.model_id,
            foundation_model_id=target.foundation_model.model_id,
            inference_profile_arn=target.inference_profile_arn,
            provisioned_model_arn=target.provisioned_model_arn,
            stands_in=target.stands_in,
            regions=list(target.regions),
            pools=[_pool(pool, now) for pool in target.pools],
            asked_first=None if first is None else first.state.name,
            because=_because(target, first, now),
        )


def _first(pools: Sequence[Pool], now: float) -> Seat | None:
    """The best of the first pool that has one; of many, a request sees two and takes the better."""
    for pool in pools:
        ready = [seat for seat in _sorted(pool, now) if seat.state.admits(now)]
        if ready:
            return ready[0]
    return None


def _sorted(pool: Pool, now: float) -> list[Seat]:
    return sorted(pool.seats(), key=lambda seat: (not seat.state.admits(now), _cost(seat, now)))


def _cost(seat: Seat, now: float) -> float:
    known = seat.latency if seat.latency.known(now) else seat.peers
    return seat.load * (known.typical_s if known.known(now) else 1.0)


def _pool(pool: Pool, now: float) -> PoolNow:
    return PoolNow(region=pool.region, servers=[_server(seat, now) for seat in _sorted(pool, now)])


def _server(seat: Seat, now: float) -> ServerNow:
    state, health = seat.state, seat.state.health
    is_well, not_ready = health.state(now) == "healthy", state.not_ready()
    left_s = health.left_alone_until - now
    return ServerNow(
        name=state.name,
        region=seat.candidate.region,
        served_as=seat.candidate.served_as,
        dialect=seat.candidate.dialect,
        health="not ready" if is_well and not_ready else health.state(now),
        why=(not_ready or None) if is_well else health.why,
        left_alone_for_s=round(left_s, 3) if not is_well and left_s > 0 else None,
        in_flight=state.in_flight,
        most_in_flight=state.slots.most,
        weight=state.weight,
        first_byte_s=round(seat.latency.typical_s, 3) if seat.latency.known(now) else None,
        may_be_asked=state.admits(now),
    )


def _because(target: Target, first: Seat | None, now: float) -> str:
    if not target.pools:
        return "no model server serves it in these Regions: callers get AccessDeniedException"
    if target.stands_in:
        return "no model server serves it, and the embedded model stands in"
    if first is None:
        busy = any(
            seat.state.health.admits(now, 0) for pool in target.pools for seat in pool.seats()
        )
        return (
            "every sound server is full: requests wait for a slot"
            if busy
            else "every server is out: requests try the least bad"
        )
    pool = next(pool for pool in target.pools if pool.seat(first.state.name))
    ready = sum(seat.state.admits(now) for seat in pool.seats())
    where = f"in {pool.region}" if pool.region else "in the other Regions"
    passed_over = "" if pool is target.pools[0] else f"{target.pools[0].region} has nobody; "
    best = f"it has the least load and time to the first byte of the {ready}"
    return f"{passed_over}{best if ready > 1 else 'it is the only one'} that may be asked {where}"
