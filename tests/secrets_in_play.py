"""Every secret that a test has given to a client or a server, and where none of them may turn up.

What clients sign with is learnt from botocore itself; what tests make by other means they `note`.
Forms that can be told by their looks are found without being noted.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.auth import BearerAuth, SigV4Auth

SHORTEST = 16
"""Of dummies like "x" every log is full."""

FORMS: Mapping[str, re.Pattern[bytes]] = {
    "a long-term API key": re.compile(rb"ABSK[A-Za-z0-9+/]{24}"),
    "a short-term API key": re.compile(rb"bedrock-api-key-[A-Za-z0-9+/]{40}"),
    "an identity token": re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{16}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a signature": re.compile(rb"Signature=[0-9a-f]{64}"),
}
KEPT_FOR_ITS_OWNER = re.compile(r"credentials|sealing-keys|config\.toml|.*\.(key|pem|toml)")
"""Files of a state folder that are there to hold a secret, and those that a test has written."""
_SECRET_NAME = re.compile(r".*(KEY|KEYS|SECRET|TOKEN|PASSWORD)")
_KEY_ID = re.compile(r"A[KS]IA[A-Z0-9]+")
"""The name of a key, which is no secret."""

_WORD = 8
"""Bytes of which one comparison is made; the shortest secret holds a whole word, wherever it is."""

_noted: dict[bytes, str] = {}
_words: set[int] = set()
"""Every eight bytes in a row of what is noted."""


def note(secret: str, what: str) -> str:
    """The same text. From now on no server may tell it to anybody."""
    if len(secret) >= SHORTEST:
        for form in (secret, quote(secret, safe="")):
            _note(form.encode(), what)
    return secret


def _note(secret: bytes, what: str) -> None:
    _noted[secret] = what
    ends = range(_WORD, len(secret) + 1)
    _words.update(int.from_bytes(secret[end - _WORD : end], sys.byteorder) for end in ends)


def note_environment(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if _SECRET_NAME.fullmatch(name):
            for word in value.split():
                if not _KEY_ID.fullmatch(word):
                    note(word, name)


def note_state(state: Path) -> None:
    """What a server keeps for itself."""
    if (state / "credentials").exists():
        parser = ConfigParser(interpolation=None)
        parser.read(state / "credentials")
        note(parser["default"]["aws_secret_access_key"], "the root user's secret")
    if (state / "sealing-keys").exists():
        for key in (state / "sealing-keys").read_text().split():
            note(key, "a sealing key")
    for path in (state / "tls").glob("*.key"):
        for line in path.read_text().splitlines()[1:-1]:
            note(line, f"{path.name} of TLS")


def leaks(text: bytes) -> list[str]:
    """What is in it that should not be; never the secret itself, since this is printed."""
    known = {what for secret, what in _told_in(text) if secret in text}
    looks = {what for what, form in FORMS.items() if form.search(text)}
    return sorted(known | looks)


def _told_in(text: bytes) -> Iterable[tuple[bytes, str]]:
    """Nothing, or all that is noted: servers write megabytes, of which next to none is to be asked
    for each secret.
    """
    words = memoryview(text)[: len(text) // _WORD * _WORD].cast("Q")
    return () if _words.isdisjoint(words) else _noted.items()


def leaks_of(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.name}: {what}"
        for path in paths
        if path.is_file() and not KEPT_FOR_ITS_OWNER.fullmatch(path.name)
        for what in leaks(path.read_bytes())
    ]


def watch_clients() -> Callable[[], None]:
    """Notes whatever botocore signs with from here on; gives what ends that."""
    sign: Any = SigV4Auth.add_auth
    bear: Any = BearerAuth.add_auth

    def signing(self: Any, request: Any) -> None:
        note(self.credentials.secret_key, "a client's secret access key")
        note(self.credentials.token or "", "a client's session token")
        sign(self, request)

    def bearing(self: Any, request: Any) -> None:
        note(self.auth_token.token, "a client's API key")
        bear(self, request)

    SigV4Auth.add_auth, BearerAuth.add_auth = signing, bearing

    def end() -> None:
        SigV4Auth.add_auth, BearerAuth.add_auth = sign, bear

    return end
