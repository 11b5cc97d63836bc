"""Converse over servers that all serve one model."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.runtime.converse import Converse
from outcrop.runtime.inference import Inference
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue
from tests.clocks import FakeClock
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.admitting import unlimited

MODEL_ID = "amazon.nova-lite-v1:0"


class Closes(Protocol):
    async def aclose(self) -> None: ...


@asynccontextmanager
async def converse_over(
    servers: Iterable[Closes], candidates: Iterable[Candidate], *, queue_deadline_s: float = 30
) -> AsyncGenerator[Converse]:
    """The servers are closed when the block ends."""
    served = [Served(MODEL_ID, candidate) for candidate in candidates]
    targets = Targets(
        Catalogue(),
        Fleet(served, stand_in=None),
        FakeInferenceProfiles(),
        FakeProvisionedModelThroughputs(),
    )
    async with AsyncExitStack() as closing:
        for server in servers:
            closing.push_async_callback(server.aclose)
        admission = unlimited(queue_deadline_s=queue_deadline_s)
        yield Converse(Inference(targets, admission, Router(), clock=FakeClock()))
