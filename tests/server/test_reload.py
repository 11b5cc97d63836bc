"""SIGHUP: what follows the file at once, what does not, and what is refused."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from outcrop.server.config import Config, load_config
from outcrop.server.followed import FOLLOWED, changed_keys, followed
from tests.boto3_client import client_of
from tests.conformance.kills import lose_one
from tests.fakes.model_server import (
    Answers,
    AnswersInTwo,
    AnswersStatus,
    FakeModelServer,
    delta,
    sse,
    usage,
)
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import workers
from tests.waiting import eventually, until

MODEL_ID = "amazon.nova-lite-v1:0"
HELLO: list[Any] = [{"role": "user", "content": [{"text": "hello"}]}]
ANSWER = sse(delta(""), delta("Hello"), delta(finish_reason="stop"), usage(9, 2))
BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
REST = sse(delta("lo"), delta(finish_reason="stop"), usage(9, 2))
READ_AGAIN = "SIGHUP: the configuration was read again"


def settings(*servers: tuple[str, str], more: str = "") -> str:
    tables = "".join(
        f'[[model_servers]]\nname = "{name}"\nurl = "{url}"\nmodels = {{"{MODEL_ID}" = "nova"}}\n'
        for name, url in servers
    )
    return f"{more}\n[embedded]\nenabled = false\n{tables}"


def client(server: OutcropProcess, service: str = "bedrock-runtime") -> Any:
    return client_of(server, service)


def served_by(runtime: Any) -> str:
    answer = runtime.converse(modelId=MODEL_ID, messages=HELLO)
    header: str = answer["ResponseMetadata"]["HTTPHeaders"]["x-outcrop-served-by"]
    return header.partition(";")[0]


def reload(server: OutcropProcess, text: str, *, until: str, times: int = 1) -> None:
    """Returns when the log says so, so many times more."""
    expected = server.log.read_text().count(until) + times
    (server.state / "config.toml").write_text(text)
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: server.log.read_text().count(until) == expected), (
        server.log.read_text()
    )


def rest_of(stream: Any) -> str:
    events = [
        event["contentBlockDelta"]["delta"]["text"]
        for event in stream
        if "contentBlockDelta" in event
    ]
    return "".join(events)


async def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *arguments, **named)


@asynccontextmanager
async def running(state: Path, config: str) -> AsyncGenerator[OutcropProcess]:
    """Beside the model servers of this process, which it asks while it starts."""
    process = outcrop_process(state, config=config)
    server = await in_thread(process.__enter__)
    try:
        yield server
    finally:
        await in_thread(process.__exit__, None, None, None)


@pytest.mark.slow
def test_a_new_file_is_followed_and_no_request_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            FakeModelServer(AnswersInTwo(BEGUN, REST)) as old,
            FakeModelServer(Answers([ANSWER])) as new,
            running(tmp_path, settings(("old", old.url))) as server,
        ):
            runtime = await in_thread(client, server)
            answer = await in_thread(runtime.converse_stream, modelId=MODEL_ID, messages=HELLO)
            text = settings(("new", new.url))
            await in_thread(reload, server, text, until=READ_AGAIN)

            assert await in_thread(served_by, runtime) == "new"
            old.go.set()
            assert await in_thread(rest_of, answer["stream"]) == "Hello"
            assert len(old.requests) == 1

    asyncio.run(main())


@pytest.mark.slow
def test_requests_go_on_being_answered_through_many_reloads(tmp_path: Path) -> None:
    async def main() -> set[str]:
        seen: set[str] = set()
        async with (
            FakeModelServer(Answers([ANSWER])) as one,
            FakeModelServer(Answers([ANSWER])) as two,
            running(tmp_path, settings(("one", one.url))) as server,
        ):
            runtime = await in_thread(client, server)
            over = asyncio.Event()

            async def ask() -> None:
                while not over.is_set():
                    seen.add(await in_thread(served_by, runtime))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(ask())
                for name, url in [("two", two.url), ("one", one.url)] * 5:
                    await in_thread(reload, server, settings((name, url)), until=READ_AGAIN)
                over.set()
        return seen

    assert asyncio.run(main()) == {"one", "two"}


@pytest.mark.slow
def test_quotas_follow_the_file(tmp_path: Path) -> None:
    with outcrop_process(tmp_path, config=settings()) as server:
        bedrock = client(server, "bedrock")
        (source, *_) = bedrock.list_inference_profiles()["inferenceProfileSummaries"]
        copied = {"copyFrom": source["inferenceProfileArn"]}
        bedrock.create_inference_profile(inferenceProfileName="one", modelSource=copied)

        reload(server, settings(more="inference_profiles.quota = 1"), until=READ_AGAIN)

        with pytest.raises(bedrock.exceptions.ServiceQuotaExceededException):
            bedrock.create_inference_profile(inferenceProfileName="two", modelSource=copied)


@pytest.mark.slow
def test_a_model_that_a_server_was_found_to_have_is_served(tmp_path: Path) -> None:
    listing = AnswersStatus(200, b'{"data":[{"id":"%b"}]}' % MODEL_ID.encode())

    async def main() -> str:
        async with FakeModelServer(listing) as fake:
            found = f'[[model_servers]]\nname = "found"\nurl = "{fake.url}"\ndiscover = true\n'
            async with running(tmp_path, settings(more=found)) as server:
                fake.script = Answers([ANSWER])
                runtime = await in_thread(client, server)
                name: str = await in_thread(served_by, runtime)
                return name

    assert asyncio.run(main()) == "found"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("wrokers = 1", "unknown key `wrokers`"),
        ("[limits", "Expected ']'"),
        ('[[custom_models]]\ncustom_model_id = "x"', "`custom_models[0].custom_model_id`"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_everything_stays(
    tmp_path: Path, bad: str, said: str
) -> None:
    async def main() -> None:
        async with (
            FakeModelServer(Answers([ANSWER])) as fake,
            running(tmp_path, settings(("gpu", fake.url))) as server,
        ):
            runtime = await in_thread(client, server)
            await in_thread(reload, server, bad, until="stays as it was")

            assert said in server.log.read_text().replace('\\"', '"')
            assert await in_thread(served_by, runtime) == "gpu"

    asyncio.run(main())


@pytest.mark.slow
def test_every_worker_reads_the_file_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    with outcrop_process(tmp_path, config=settings(), arguments=("--workers", "2")) as server:
        changed = settings(more='region = "eu-west-1"\nlimits.drain_timeout_s = 1')
        reload(server, changed, until=READ_AGAIN, times=2)
        log = server.log.read_text()

    assert log.count("only a restart follows: limits.drain_timeout_s, region") == 2


@pytest.mark.slow
def test_who_takes_the_place_of_a_lost_worker_follows_what_the_others_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            FakeModelServer(Answers([ANSWER])) as gpu,
            running(tmp_path, settings(("first", gpu.url))) as server,
        ):
            names: list[str] = []
            changes = (
                (settings(("second", gpu.url)), READ_AGAIN),
                (settings(("broken", "no URL")), "stays as it was"),
                ("nonsense = ", "stays as it was"),
            )
            for text, said in changes:
                await in_thread(reload, server, text, until=said)
                await in_thread(lose_one, server, workers(server))
                names.append(await in_thread(served_by, client(server)))
            # Nobody has said that this is to be followed.
            (tmp_path / "config.toml").write_text(settings(("third", gpu.url)))
            await in_thread(lose_one, server, workers(server))
            names.append(await in_thread(served_by, client(server)))
            assert names == ["second"] * 4

    asyncio.run(main())


@pytest.mark.slow
def test_who_is_about_to_serve_when_the_file_is_read_again_reads_it_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeModelServer(Answers([ANSWER])) as gpu:
            first, second = (
                settings((name, gpu.url), more="workers = 2") for name in ("first", "second")
            )
            async with running(tmp_path, first) as server:
                os.kill(workers(server)[1], signal.SIGKILL)
                await until(lambda: "a worker is lost" in server.log.read_text())
                await in_thread(reload, server, second, until=READ_AGAIN, times=2)
                names = {await in_thread(served_by, client(server)) for _ in range(8)}
                assert names == {"second"}

    asyncio.run(main())


def test_what_follows_the_file_is_taken_over_and_nothing_else(tmp_path: Path) -> None:
    before = config("workers = 2\n[embedded]\nslots = 2", tmp_path)
    after = config(
        "workers = 3\n[embedded]\nslots = 3\nstand_in = true\n[inference_profiles]\nquota = 1",
        tmp_path,
    )

    merged = followed(before, after)

    assert (merged.workers, merged.embedded.slots, merged.embedded.stand_in) == (2, 2, True)
    assert merged.inference_profiles.quota == 1


@pytest.mark.slow
def test_a_declared_key_follows_its_file_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret-of-ada"
    key = f"""
        [[accounts.users.access_keys]]
        access_key_id = "AKIADECLARED00000001"
        secret_access_key_file = "{secret}"
        """
    user = "[[accounts]]\naccount_id = '444455556666'\n[[accounts.users]]\nuser_name = 'ada'\n"

    def account_of(secret_access_key: str) -> str:
        key = {
            "aws_access_key_id": "AKIADECLARED00000001",
            "aws_secret_access_key": secret_access_key,
        }
        sts = client_of(server, "sts", key=key)
        try:
            arn: str = sts.get_caller_identity()["Arn"]
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return arn

    secret.write_text("the-first-secret-of-ada")
    with outcrop_process(tmp_path / "state", config=settings() + user + key) as server:
        seen = [account_of("the-first-secret-of-ada")]
        secret.write_text("another-secret-of-ada")
        reload(server, settings() + user + key, until=READ_AGAIN)
        assert eventually(lambda: account_of("another-secret-of-ada").endswith("user/ada"))
        seen.append(account_of("the-first-secret-of-ada"))
        secret.unlink()
        reload(server, settings() + user + key, until="stays as it was")
        seen.append(account_of("another-secret-of-ada"))
        reload(server, settings() + user, until=READ_AGAIN)
        assert eventually(lambda: account_of("another-secret-of-ada") == "InvalidClientTokenId")
        told = server.log.read_text()

    ada = "arn:aws:iam::444455556666:user/ada"
    assert seen == [ada, "SignatureDoesNotMatch", ada]
    assert "access key AKIADECLARED00000001: the file" in told


def config(text: str, tmp_path: Path) -> Config:
    path = tmp_path / "outcrop.toml"
    path.write_text(text)
    return load_config(path, {"state": tmp_path})


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        ("workers = 2", ["workers"]),
        ("[embedded]\nslots = 2\nstand_in = true", ["embedded.slots"]),
        ("[inference_profiles]\nquota = 1", []),
        ('database_url = "postgresql://x"', ["database_url"]),
    ],
)
def test_what_only_a_restart_follows_is_named(tmp_path: Path, text: str, keys: list[str]) -> None:
    assert list(changed_keys(config("", tmp_path), config(text, tmp_path))) == keys


@pytest.mark.slow
def test_model_units_follow_the_file_and_what_is_sold_is_kept(tmp_path: Path) -> None:
    table = f"""[[model_units]]
model = "{MODEL_ID}"
input_tokens_per_minute = 9
output_tokens_per_minute = 9
"""

    def with_units(number: int) -> str:
        counted = f'model_units = {{"{MODEL_ID}" = {number}}}\n'
        at_once = "[provisioned_throughput]\ncreating_s = 0"
        return settings(("gpu", "http://127.0.0.1:9/v1"), more=at_once) + counted + table

    def status(bedrock: Any, name: str) -> str:
        bought = bedrock.create_provisioned_model_throughput(
            provisionedModelName=name, modelId=MODEL_ID, modelUnits=3
        )
        found: str = bedrock.get_provisioned_model_throughput(
            provisionedModelId=bought["provisionedModelArn"]
        )["status"]
        return found

    with outcrop_process(tmp_path / "state", config=with_units(3)) as server:
        bedrock = client(server, "bedrock")
        seen = [status(bedrock, "first"), status(bedrock, "second")]
        reload(server, with_units(6), until=READ_AGAIN)
        seen.append(status(bedrock, "third"))
        reload(server, with_units(5), until=f"6 model units of {MODEL_ID} are sold in us-east-1")
        seen.append(bedrock.get_provisioned_model_throughput(provisionedModelId="third")["status"])

    assert seen == ["InService", "Failed", "InService", "InService"]


def test_the_page_says_what_follows_the_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    promise = page.partition("After SIGHUP")[2].partition("; keys and")[0]

    assert {key for key in FOLLOWED if f"`{key}`" in promise} == FOLLOWED
