"""What is asked of an issuer, how often, and what is believed meanwhile."""

import asyncio
import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, strategies as some
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_encode

from outcrop.iam import web_identity
from outcrop.iam.web_identity import MOST_BYTES, Identity, WebIdentities, fetched
from outcrop.store.identity_records import IdentityProviderRecord
from outcrop.wire.errors import AwsError, InvalidIdentityTokenException
from tests.clocks import FakeClock

ACCOUNT, OTHER = "111122223333", "444455556666"
URL, SECOND_URL = "https://oidc.example.net/cluster", "https://oidc.example.org"
KEYS = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("first", "second", "third")}
ES256 = ECAlgorithm(ECAlgorithm.SHA256)
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

    async def ask(
        self, kid: str, account_id: str = ACCOUNT, *, url: str = URL, **more: object
    ) -> str:
        """Whom the token speaks of, or the error's name."""
        expires_at = self.clock() + timedelta(days=1)
        claims = {"iss": url, "aud": "sts", "sub": "pod", "exp": int(expires_at.timestamp())}
        parts = [{"alg": "ES256", "kid": kid}, {**claims, **more}]
        text = b".".join(base64url_encode(json.dumps(part).encode()) for part in parts)
        signature = ES256.sign(text, KEYS[kid])
        try:
            return (await self.verified(f"{text.decode()}.{_text(signature)}", account_id)).subject
        except AwsError as error:
            return error.name

    async def verified(self, token: str, account_id: str = ACCOUNT) -> Identity:
        return await self._identities.verified(account_id, token)


def _text(raw: bytes) -> str:
    return base64url_encode(raw).decode()


def _joined(head: object, claims: object, signature: bytes) -> str:
    return ".".join(
        [_text(json.dumps(head).encode()), _text(json.dumps(claims).encode()), _text(signature)]
    )


def _public(kid: str) -> dict[str, Any]:
    row: dict[str, Any] = ECAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True)
    return row


NO_AUDIENCE: list[object] = [
    None,
    5,
    True,
    "other",
    [],
    [None],
    ["other", 5],
    {"sts": "sts"},
    [["sts"]],
]


@pytest.mark.parametrize("audience", NO_AUDIENCE, ids=repr)
def test_an_audience_of_any_form_is_the_issuers_or_refused(
    clock: FakeClock, audience: object
) -> None:
    async def main() -> None:
        world = World(clock, "first")

        assert await world.ask("first", aud=audience) == UNKNOWN
        assert await world.ask("first", aud=["other", "sts"]) == "pod"

    asyncio.run(main())


ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = some.dictionaries(
    some.sampled_from(["aud", "sub", "exp", "nbf", "iat", "azp", "groups"]), ANYTHING
)


@given(claims=CLAIMS)
def test_claims_of_any_form_are_understood_or_refused(claims: dict[str, Any]) -> None:
    async def main() -> str:
        return await World(FakeClock(), "first").ask("first", **claims)

    assert asyncio.run(main()) in ("pod", UNKNOWN, "ExpiredTokenException", claims.get("sub"))


@given(token=some.text(max_size=200) | some.builds(_joined, ANYTHING, ANYTHING, some.binary()))
def test_what_is_no_token_is_refused(token: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidIdentityTokenException):
            await World(FakeClock(), "first").verified(token)

    asyncio.run(main())


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
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"], "answers 302"),
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
