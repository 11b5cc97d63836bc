import asyncio

from outcrop.store.store import open_store
from tests.clocks import FakeClock


def test_a_secret_is_made_once_for_all_servers(location: str, clock: FakeClock) -> None:
    async def start(name: str) -> bytes:
        async with open_store(location, clock=clock) as store:
            return await store.secrets.get(name)

    async def main() -> list[bytes]:
        async with asyncio.TaskGroup() as group:
            starts = [group.create_task(start("page tokens")) for _ in range(4)]
        return [*(start.result() for start in starts), await start("another")]

    *same, another = asyncio.run(main())

    assert len(set(same)) == 1
    assert another != same[0]
    assert {len(secret) for secret in (another, *same)} == {32}
