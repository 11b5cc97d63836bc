"""What it costs to know who calls and whether they may, from 10 principals to 100,000.

Each has 30 managed policies of its account's 1,000. Authentication and authorization together, as
`App` does them, of a Converse directly on a model and through a profile of three Regions.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.authorization import ACCOUNT, EVERYTHING, statements
from outcrop.iam.access import Needs, Resource, invoked
from outcrop.iam.authenticator import Authenticator
from outcrop.iam.directory import Directory, root
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.sealing import Sealer
from outcrop.iam.temporary_credentials import TemporaryCredentials
from outcrop.server.gate import decide, environment_of
from outcrop.store.database import Transaction
from outcrop.store.identities import ITSELF, Editor
from outcrop.store.identity_records import AccountRecord, PolicyRecord, UserRecord
from outcrop.store.store import Store, open_store
from outcrop.wire.http import HttpRequest

SIZES = (10, 1_000, 100_000)
POLICIES, ATTACHED, CALLERS, ROUNDS, CALLS = 1_000, 30, 10, 7, 1_000
NOW = datetime.now(UTC)
PROFILE = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.vendor3.model-v1:0"
BODY = b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'


async def main() -> None:
    print(
        f"{'principals':>12}{'policies':>10}{'model, µs':>12}{'profile, µs':>13}{'first, µs':>11}"
    )
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            async with open_store(Path(folder) / "db", clock=lambda: NOW) as store:
                sealer = Sealer([bytes(32)])
                await fill(store, sealer, size)
                direct, through, first = await costs(store, sealer, size)
        print(f"{size:>12}{POLICIES:>10}{direct:>12.1f}{through:>13.1f}{first:>11.0f}")


async def costs(store: Store, sealer: Sealer, size: int) -> tuple[float, float, float]:
    directory = Directory(store.identities, SealedKeys(store.access_keys, sealer))
    temporary = TemporaryCredentials(bytes(32))
    requests = [signed(number) for number in range(0, size, max(1, size // CALLERS))]
    began = time.process_time()
    authenticator = Authenticator(directory, lambda: NOW, temporary=temporary)
    for request in requests:
        await ask(authenticator, request, DIRECT)
    first = (time.process_time() - began) / len(requests) * 1e6
    direct = await best_us(authenticator, requests, DIRECT)
    return direct, await best_us(authenticator, requests, THROUGH), first


async def best_us(
    authenticator: Authenticator, requests: Sequence[HttpRequest], needs: Needs
) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(CALLS):
            await ask(authenticator, requests[number % len(requests)], needs)
        best = min(best, time.process_time() - began)
    return best / CALLS * 1e6


async def ask(authenticator: Authenticator, request: HttpRequest, needs: Needs) -> None:
    identified = await authenticator.authenticate(request, "bedrock")
    environment = environment_of(request, NOW, is_secure=True)
    assert decide(identified, "Converse", needs, environment).allowed


async def fill(store: Store, sealer: Sealer, size: int) -> None:
    everything: list[dict[str, Any]] = [EVERYTHING]

    async def identities(editor: Editor) -> None:
        await editor.put(ACCOUNT, ITSELF, AccountRecord(account_name="bench"))
        for number in range(POLICIES):
            given = everything if number == 0 else statements(number)
            text = json.dumps({"Version": "2012-10-17", "Statement": given})
            await editor.put(ACCOUNT, f"P{number}", PolicyRecord(document=text))
        for number in range(size):
            attached = [f"P{(number * 7 + i) % (POLICIES - 1) + 1}" for i in range(ATTACHED - 1)]
            user = UserRecord(user_id="AIDA", created_at=NOW, policies=("P0", *attached))
            await editor.put(ACCOUNT, f"user{number}", user)

    await store.identities.edit(identities)
    keys = SealedKeys(store.access_keys, sealer)
    rows = [
        (ACCOUNT, key_id(n), keys.sealed(key_id(n), "secret"), 0, f"user{n}", "Active")
        for n in range(size)
    ]
    columns = ("account_id", "access_key_id", "secret_access_key", "created_at", "user_name")

    async def insert(transaction: Transaction) -> None:
        await transaction.insert_many("access_keys", (*columns, "status"), rows)

    await store.access_keys._database.write(insert)  # noqa: SLF001 - a hundred thousand at once


def key_id(number: int) -> str:
    return f"AKIA{number:016}"


def signed(number: int) -> HttpRequest:
    url = "http://127.0.0.1:8787/model/vendor3.model-v1%3A0/converse"
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=BODY)
    SigV4Auth(Credentials(key_id(number), "secret"), "bedrock", "us-east-1").add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return HttpRequest(
        method="POST",
        raw_path="/model/vendor3.model-v1%3A0/converse",
        headers={"host": "127.0.0.1:8787", **headers},
        body=BODY,
        source_address="203.0.113.7",
    )


def _needs(*regions: str, profile: Resource | None = None) -> Needs:
    caller = root(ACCOUNT, "us-east-1")
    return Needs(resources=invoked(caller, "vendor3.model-v1:0", regions=regions, profile=profile))


DIRECT = _needs()
THROUGH = _needs("us-east-1", "us-east-2", "us-west-2", profile=Resource(arn=PROFILE))


if __name__ == "__main__":
    asyncio.run(main())
