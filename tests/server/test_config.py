"""The configuration: what it refuses and how, and that its page tells the truth."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from outcrop.server.config import (
    Config,
    ConfigurationError,
    default_cache,
    default_state,
    load_config,
    split_address,
    url_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"\| `(?P<key>[a-z0-9_.]+)` \| (?P<default>.*?) \|")

FOLDERS = {
    default_state: "`$XDG_STATE_HOME/outcrop`, else `~/.local/state/outcrop`",
    default_cache: "`$XDG_CACHE_HOME/outcrop`, else `~/.cache/outcrop`",
}


def load(tmp_path: Path, text: str, **overrides: object) -> Config:
    path = tmp_path / "outcrop.toml"
    path.write_text(text)
    return load_config(path, overrides)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    return message.removeprefix(f"{tmp_path / 'outcrop.toml'}: ")


def test_no_file_gives_the_defaults() -> None:
    config = load_config(None, {})

    assert (config.listen, config.workers, config.stands_in) == ("127.0.0.1:8787", 1, True)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, 'workers = 2\nregion = "eu-west-1"', workers=3)

    assert (config.workers, config.region) == (3, "eu-west-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listne = 1", "unknown key `listne`"),
        ("[limits]\nmax_bdy_bytes = 1", "unknown key `limits.max_bdy_bytes`"),
        ("[limits]\nmax_body_bytes = 0", "`limits.max_body_bytes`: Expected `int` >= 1"),
        ("[limits]\ndrain_timeout_s = 9", "`limits.drain_timeout_s`: Expected `float` <= 8.0"),
        ('workers = "2"', "`workers`: Expected `int`, got `str`"),
        ("state = 1", "`state`: Expected `str`, got `int`"),
        ('log_level = "loud"', "`log_level`: Invalid enum value 'loud'"),
        ('listen = "8787"', "listen = '8787' is not address:port"),
        ('listen = "127.0.0.1:70000"', "listen = '127.0.0.1:70000' is not address:port"),
        ('database_url = "mysql://x"', "database_url begins with 'mysql', not with postgresql://"),
        ("[[model_servers]]\nnme = 1", "unknown key `model_servers[0].nme`"),
        (
            '[[prices]]\nmodel = "no.model"',
            "prices: no model of the catalogue and no system-defined profile: no.model",
        ),
        (
            '[[prices]]\nmodel = "m"\ntier_multipliers = { flexx = 2 }',
            "`prices[0]`: 'flexx' is no service tier: default, flex, priority, reserved",
        ),
        (
            '[[budgets]]\nname = "b"\namount_usd = "1e30"',
            "`budgets[0]`: amount_usd = 1E+30 is no budget: more than 0, below 1000000000000",
        ),
        (
            '[telemetry]\nendpoint = "collector:4318"',
            "`telemetry.endpoint`: Expected `str` matching regex '\\\\Ahttps?://[^/]'",
        ),
        ("[limits", "Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


@pytest.mark.parametrize(
    "name",
    [
        "amazon.nova-lite-v1:0",
        "amazon.nova-lite-v1:0:24k",
        "us.amazon.nova-lite-v1:0",
        "my-model",
    ],
)
def test_models_and_profiles_and_custom_models_have_prices(tmp_path: Path, name: str) -> None:
    config = load(
        tmp_path,
        '[[custom_models]]\ncustom_model_id = "abcdefghijkl"\ncustom_model_name = "my-model"\n'
        f'base_model_id = "amazon.nova-lite-v1:0"\n[[prices]]\nmodel = "{name}"\n',
    )

    assert [price.model for price in config.prices] == [name]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        load_config(tmp_path / "none.toml", {})


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_bytes(b'region = "\xff"')

    with pytest.raises(ConfigurationError, match="codec can't decode"):
        load_config(path, {})


@pytest.mark.parametrize("address", ["0.0.0.0:8787", "[::]:8787", "10.0.0.1:80", "host:80"])
def test_listening_beyond_loopback_needs_to_be_allowed(tmp_path: Path, address: str) -> None:
    text = f'listen = "{address}"'

    assert "set allow_remote = true (or --allow-remote)" in refusal(tmp_path, text)
    assert load(tmp_path, text, allow_remote=True).listen == address


@pytest.mark.parametrize(
    ("listen", "host", "port", "url"),
    [
        ("127.0.0.1:8787", "127.0.0.1", 8787, "http://127.0.0.1:8787"),
        ("localhost:0", "localhost", 0, "http://localhost:0"),
        ("[::1]:80", "::1", 80, "http://[::1]:80"),
        ("0.0.0.0:80", "0.0.0.0", 80, "http://127.0.0.1:80"),
        ("[::]:80", "::", 80, "http://[::1]:80"),
    ],
)
def test_addresses(listen: str, host: str, port: int, url: str) -> None:
    assert split_address(listen) == (host, port)
    assert url_of(host, port) == url


def test_folders_follow_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")

    assert default_state() == Path("/home/me/.local/state/outcrop")
    assert default_cache() == Path("/var/cache/me/outcrop")


SERVER = '[[model_servers]]\nname = "gpu"\nurl = "http://gpu:1/v1"\nmodels = { a = "b" }\n'


@pytest.mark.parametrize(
    ("text", "stands_in"),
    [
        ("", True),
        (SERVER, False),
        (f"{SERVER}[embedded]\nstand_in = true", True),
        ("[embedded]\nstand_in = false", False),
        ("[embedded]\nenabled = false", False),
    ],
)
def test_the_embedded_model_stands_in_only_while_no_server_is_named(
    tmp_path: Path, text: str, *, stands_in: bool
) -> None:
    assert load(tmp_path, text).stands_in is stands_in


def test_the_page_documents_every_key_with_its_default() -> None:
    rows = map(ROW.match, PAGE.read_text().splitlines())
    documented = {row["key"]: row["default"] for row in rows if row}

    assert documented == dict(_keys(Config, ""))


def _keys(record: type[Struct], prefix: str) -> Iterator[tuple[str, str]]:
    for field in fields(record):
        nested = _record_in(field.type)
        if nested is None:
            yield f"{prefix}{field.name}", _default(field)
        else:
            yield from _keys(nested, f"{prefix}{field.name}.")


def _record_in(kind: Any) -> type[Struct] | None:
    """The record that a field holds, alone or in a tuple."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, Struct):
            return candidate
    return None


def _default(field: FieldInfo) -> str:
    if field.default_factory in FOLDERS:
        return FOLDERS[field.default_factory]
    if field.default_factory is dict:
        return "`{}`"
    if field.default is NODEFAULT:
        return "required"
    if field.default is None:
        return "none"
    return f"`{msgspec.json.encode(field.default).decode().removesuffix('.0')}`"
