import asyncio

from outcrop.fleet.fleet import Fleet, Served
from outcrop.iam.caller import Caller
from outcrop.runtime.explanation import Explain, ExplainRequest, Explanation
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.requests import caller
from tests.runtime.test_target import STAND_IN, candidate

MODEL = "amazon.nova-lite-v1:0"


def explained(fleet: Fleet, by: Caller | None = None, model_id: str = MODEL) -> Explanation:
    targets = Targets(
        Catalogue(), fleet, FakeInferenceProfiles(), FakeProvisionedModelThroughputs()
    )
    request = ExplainRequest(model_id=model_id)
    return asyncio.run(Explain(targets).explain(by or caller(), request))


def test_it_is_said_who_stands_in_and_when_nobody_serves_a_model() -> None:
    stands_in, nobody = explained(Fleet([], STAND_IN)), explained(Fleet([], None))

    assert (stands_in.asked_first, stands_in.stands_in) == ("embedded", True)
    assert "stands in" in stands_in.because
    assert (nobody.asked_first, nobody.pools) == (None, [])
    assert "AccessDeniedException" in nobody.because


def test_a_server_that_is_not_ready_is_not_called_healthy() -> None:
    starting = candidate("embedded")
    starting.server.state.not_ready = lambda: "its weights are not here yet"

    (server,) = explained(Fleet([], starting)).pools[0].servers

    assert (server.health, server.why) == ("not ready", "its weights are not here yet")


def test_the_least_loaded_is_asked_first_and_who_has_no_room_is_not() -> None:
    loaded, idle, full = candidate("loaded"), candidate("idle"), candidate("full")
    loaded.server.state.in_flight = 3
    full.server.state.slots.resize(1)
    assert full.server.state.slots.take()
    fleet = Fleet([Served(MODEL, one) for one in (loaded, full, idle)], None)

    told = explained(fleet)

    servers = told.pools[0].servers
    assert [server.name for server in servers] == ["idle", "loaded", "full"]
    assert [server.may_be_asked for server in servers] == [True, True, False]
    assert told.asked_first == "idle"
    assert told.because == (
        "it has the least load and time to the first byte of the 2 that may be asked in us-east-1"
    )


def test_a_fleet_without_room_lets_requests_wait() -> None:
    full = candidate("full")
    full.server.state.slots.resize(1)
    assert full.server.state.slots.take()

    told = explained(Fleet([Served(MODEL, full)], None))

    assert (told.asked_first, told.because) == (
        None,
        "every sound server is full: requests wait for a slot",
    )
