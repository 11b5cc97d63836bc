"""What is asked of an issuer, how often, and what is believed meanwhile."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from outcrop.iam import web_identity
from outcrop.iam.web_identity import MOST_BYTES, WebIdentities, fetched
from outcrop.store.identity_records import IdentityProviderRecord
from outcrop.wire.errors import AwsError
from tests.clocks import FakeClock

ACCOUNT, OTHER = "111122223333", "444455556666"
URL, SECOND_URL = "https://oidc.example.net/cluster", "https://oidc.example.org"
KEYS = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("first", "second", "third")}
UNKNOWN, UNREACHABLE = "InvalidIdentityTokenException", "IDPCommunicationErrorException"


class World:
    """Issuers that answer from memory, wait or fail when told to; accounts that trust them."""

    def __init__(self, clock: FakeClock, *kids: str) -> None:
        self.clock = clock
        self.kids = kids
        self.asked: list[tuple[str, str | None]] = []
        self.fails: Exception | None = None
        self.held: dict[str, asyncio.Event] = {}
        self.authorities: dict[str, str] = {}
        self._identities = WebIdentities(self, clock, fetch=self._fetch)

    async def issuer(self, account_id: str, name: str) -> IdentityProviderRecord:
        return IdentityProviderRecord(
            url=f"https://{name}",
            client_ids=("sts",),
            certificate_authority=self.authorities.get(account_id),
        )

    async def _fetch(self, url: str, authority: str | None) -> bytes:
        if not url.endswith("/keys"):
            base = url.removesuffix("/.well-known/openid-configuration")
            return msgspec.json.encode({"issuer": base, "jwks_uri": f"{base}/keys"})
        self.asked.append((url.removesuffix("/keys"), authority))
        if url in self.held:
            await self.held[url].wait()
        if self.fails is not None:
            raise self.fails
        rows = [{**_public(kid), "kid": kid} for kid in self.kids]
        return msgspec.json.encode({"keys": rows})

    async def ask(self, kid: str, account_id: str = ACCOUNT, *, url: str = URL) -> str:
        """Whom the token speaks of, or the error's name."""
        expires_at = self.clock() + timedelta(days=1)
        claims = {"iss": url, "aud": "sts", "sub": "pod", "exp": int(expires_at.timestamp())}
        token = jwt.encode(claims, KEYS[kid], algorithm="ES256", headers={"kid": kid})
        try:
            return (await self._identities.verified(account_id, token)).subject
        except AwsError as error:
            return error.name


def _public(kid: str) -> dict[str, Any]:
    row: dict[str, Any] = ECAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True)
    return row


def test_an_issuer_is_asked_once_an_hour(clock: FakeClock) -> None:
    async def main() -> None:
        world = World(clock, "first")

        assert [await world.ask("first") for _ in range(3)] == ["pod"] * 3
        clock.advance(seconds=3_500)
        assert await world.ask("first") == "pod"
        assert len(world.asked) == 1

        clock.advance(seconds=200)
        assert await world.ask("first") == "pod"
        assert len(world.asked) == 2

    asyncio.run(main())


def test_a_new_key_is_learnt_and_an_unknown_one_asked_for_every_ten_seconds(
    clock: FakeClock,
) -> None:
    async def main() -> None:
        world = World(clock, "first")
        assert await world.ask("first") == "pod"
        world.kids = ("first", "second")

        assert [await world.ask("second") for _ in range(5)] == [UNKNOWN] * 5
        assert len(world.asked) == 1

        clock.advance(seconds=11)
        assert await world.ask("second") == "pod"
        assert [await world.ask("third") for _ in range(5)] == [UNKNOWN] * 5
        assert len(world.asked) == 2

    asyncio.run(main())


def test_an_issuer_that_fails_is_left_alone_for_ten_seconds(clock: FakeClock) -> None:
    async def main() -> None:
        world = World(clock, "first")
        world.fails = OSError("no route to host")

        assert [await world.ask("first") for _ in range(5)] == [UNREACHABLE] * 5
        assert len(world.asked) == 1

        world.fails = None
        clock.advance(seconds=11)
        assert await world.ask("first") == "pod"

    asyncio.run(main())


def test_what_was_learnt_is_believed_for_an_hour_and_not_longer(clock: FakeClock) -> None:
    async def main() -> None:
        world = World(clock, "first")
        assert await world.ask("first") == "pod"
        world.fails = OSError("gone")
        # Whoever sends unknown keys makes it be asked, and so may not prolong anything.
        for _ in range(359):
            clock.advance(seconds=10)
            await world.ask("third")
            assert await world.ask("first") == "pod"

        clock.advance(seconds=30)
        assert await world.ask("first") == UNREACHABLE

    asyncio.run(main())


def test_an_issuer_that_hangs_holds_up_nobody_elses_tokens(clock: FakeClock) -> None:
    async def main() -> None:
        world = World(clock, "first")
        held = world.held[f"{URL}/keys"] = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(world.ask("first")) for _ in range(3)]
            async with asyncio.timeout(5):
                assert await world.ask("first", url=SECOND_URL) == "pod"
            assert not any(task.done() for task in waiting)
            held.set()

        assert [task.result() for task in waiting] == ["pod"] * 3
        assert world.asked.count((URL, None)) == 1

    asyncio.run(main())


def test_one_accounts_authority_vouches_for_no_other_account(clock: FakeClock) -> None:
    async def main() -> None:
        world = World(clock, "first")
        world.authorities[OTHER] = "an authority of its own"

        assert await world.ask("first") == await world.ask("first", OTHER) == "pod"
        assert world.asked == [(URL, None), (URL, "an authority of its own")]

    asyncio.run(main())


@contextmanager
def answering(*parts: bytes, hang: bool = False) -> Generator[str]:
    """A server on a real socket that says so to one request; its URL."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    return
            if hang:
                over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TOO_MUCH = [b"x" * 65_536] * (MOST_BYTES // 65_536 + 1)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([HEAD + b"\r\n", *TOO_MUCH], "answers more than 1048576 bytes"),
        ([b"SSH-2.0-OpenSSH_9.7\r\n"], "answers no HTTP"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"], "302"),
        ([], "answers no HTTP: RemoteDisconnected"),
    ],
)
def test_an_answer_that_is_no_good_is_told_as_such(parts: list[bytes], said: str) -> None:
    with answering(*parts) as url, pytest.raises(OSError, match=said):
        asyncio.run(fetched(url, None))


def test_an_answer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_identity, "PATIENCE_S", 0.1)

    with (
        answering(HEAD + b"\r\n{", hang=True) as url,
        pytest.raises(OSError, match=r"did not answer within 0\.1 s|timed out"),
    ):
        asyncio.run(fetched(url, None))
