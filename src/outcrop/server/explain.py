"""`outcrop explain`: what the running server would do with a model id now, for a person to read."""

from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from outcrop.iam.access_keys import RootAccessKey
from outcrop.runtime.explanation import EXPLAIN, Explanation, PoolNow, ServerNow
from outcrop.server.endpoint import Endpoint
from outcrop.server.probe import ProbeFailedError, ask
from outcrop.wire.timestamps import Clock

_PATIENCE_S = 10.0


class _Refusal(msgspec.Struct):
    message: str = ""


def explanation(
    endpoint: Endpoint, key: RootAccessKey, model_id: str, *, clock: Clock
) -> Explanation:
    """In the endpoint's Region. Raises ProbeFailedError."""
    target = f"{EXPLAIN.uri}?modelId={quote(model_id, safe='')}"
    answer = ask(endpoint, key, target, clock=clock, timeout_s=_PATIENCE_S)
    if answer.status != 200:
        refusal = msgspec.json.decode(answer.body, type=_Refusal)
        raise ProbeFailedError(
            f"{model_id} in {endpoint.region} is refused: {answer.error}: {refusal.message}",
            mend="see `aws bedrock list-inference-profiles` and `list-foundation-models`",
        )
    try:
        return msgspec.json.decode(answer.body, type=Explanation)
    except msgspec.DecodeError as error:
        raise ProbeFailedError(
            "what answers does not explain itself", mend="it may be an older Outcrop"
        ) from error


def lines(told: Explanation) -> Iterator[str]:
    through = told.inference_profile_arn or told.provisioned_model_arn
    yield told.model_id
    yield f"  is      {told.foundation_model_id}{f', through {through}' if through else ''}"
    yield f"  runs in {', '.join(region or 'every Region' for region in told.regions)}"
    for number, pool in enumerate(told.pools, 1):
        yield from _pool_lines(number, pool)
    yield f"  asked first: {told.asked_first or 'nobody'} ({told.because})"


def _pool_lines(number: int, pool: PoolNow) -> Iterator[str]:
    yield f"  {number}. {pool.region or 'the other Regions'}"
    for server in pool.servers:
        yield f"     {server.name:<20} {_told(server)}"


def _told(server: ServerNow) -> str:
    most = "" if server.most_in_flight is None else f" of {server.most_in_flight}"
    first_byte = server.first_byte_s
    facts = [
        server.health,
        server.why,
        None if server.left_alone_for_s is None else f"for {server.left_alone_for_s:.1f} s more",
        f"{server.in_flight}{most} in flight",
        None if first_byte is None else f"first byte after {first_byte * 1000:.0f} ms",
        None if server.weight == 1 else f"weight {server.weight:g}",
        server.region or "no Region",
        f'model="{server.served_as}"',
    ]
    return ", ".join(fact for fact in facts if fact)
