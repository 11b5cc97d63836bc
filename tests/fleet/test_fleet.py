import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import EmbeddedConfig, InvalidFleetConfigError, ModelServerConfig
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.fleet import ANYWHERE, Fleet
from outcrop.fleet.fleet_keeper import open_fleet
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, Catalogue, FoundationModel
from tests.clocks import FakeClock

LLAMA = "meta.llama3-1-8b-instruct-v1:0"
NOVA = "amazon.nova-lite-v1:0"


def server(name: str, region: str | None = None, **members: Any) -> ModelServerConfig:
    return msgspec.convert(
        {
            "name": name,
            "url": "http://127.0.0.1:1/v1",
            "region": region,
            "models": {LLAMA: "llama"},
            **members,
        },
        ModelServerConfig,
    )


def fleet(servers: Sequence[ModelServerConfig] = (), **embedded: Any) -> Fleet:
    settings = EmbeddedSettings(
        config=msgspec.convert(embedded, EmbeddedConfig),
        state=Path("/nowhere"),
        cache=Path("/nowhere"),
    )

    async def main() -> Fleet:
        async with (
            asyncio.TaskGroup() as tasks,
            open_fleet(servers, settings, environ={}, tasks=tasks, clock=FakeClock()) as opened,
        ):
            return opened.fleet

    return asyncio.run(main())


def model(model_id: str) -> FoundationModel:
    found = Catalogue().model_anywhere(model_id)
    assert found is not None
    return found


def names(opened: Fleet, model_id: str, *regions: str) -> list[str]:
    pools = opened.pools(model_id, regions, regions[0])
    return [candidate.server.name for pool in pools for candidate in pool.candidates]


def test_servers_come_in_the_order_of_the_regions_each_once() -> None:
    opened = fleet([server("west", "us-west-2"), server("any"), server("east", "us-east-1")])

    assert names(opened, LLAMA, "us-east-1", "us-west-2") == ["any", "east", "west"]
    assert names(opened, LLAMA, "us-west-2") == ["west", "any"]
    assert names(opened, LLAMA, "eu-west-1", "us-east-1") == ["any", "east"]
    assert names(opened, LLAMA, "us-east-1", ANYWHERE) == ["any", "east", "west"]
    assert names(opened, NOVA, "us-east-1") == []


def test_without_servers_the_embedded_model_stands_in_for_text_models() -> None:
    opened = fleet()

    (stand_in,) = opened.stand_in(model(NOVA))

    assert stand_in.candidates[0].served_as == EMBEDDED_MODEL_ID
    assert not opened.stand_in(model("amazon.nova-canvas-v1:0"))


@pytest.mark.parametrize(
    ("servers", "embedded", "standing_in"),
    [
        ([server("gpu")], {}, []),
        ([server("gpu")], {"stand_in": True}, ["embedded"]),
        ([], {"stand_in": False}, []),
        ([], {"enabled": False}, []),
    ],
)
def test_standing_in_is_for_those_who_named_no_server_or_asked_for_it(
    servers: list[ModelServerConfig], embedded: dict[str, Any], standing_in: list[str]
) -> None:
    pools = fleet(servers, **embedded).stand_in(model(NOVA))

    assert [pool.candidates[0].server.name for pool in pools] == standing_in


def test_the_embedded_model_answers_under_its_own_name_unless_it_is_another_or_off() -> None:
    assert names(fleet([server("gpu")]), EMBEDDED_MODEL_ID, "us-east-1") == ["embedded"]
    assert names(fleet(enabled=False), EMBEDDED_MODEL_ID, "us-east-1") == []
    assert names(fleet(model_path="my.gguf"), EMBEDDED_MODEL_ID, "us-east-1") == []


def test_what_is_served_counts_as_served_where_it_is() -> None:
    opened = fleet([server("gpu", "us-west-2")])

    assert opened.serves(model(LLAMA), "us-west-2")
    assert not opened.serves(model(LLAMA), "us-east-1")
    assert fleet().serves(model(NOVA), "eu-west-1")


def test_every_mistake_is_named_at_once() -> None:
    servers = [
        server("one", models={"nobody.model": "x"}),
        server("two", url="http://gpu:99999/v1"),
        server("two", dialect="embedded"),
    ]

    with pytest.RaisesGroup(InvalidFleetConfigError) as caught:
        fleet(servers)

    text = str(caught.value.exceptions[0])
    assert "model server one: nobody.model is no model of the catalogue" in text
    assert "model server two: Port out of range 0-65535" in text
    assert "model server two: the embedded model is set up in the table [embedded]" in text
    assert "model server two: there are two of this name" in text
