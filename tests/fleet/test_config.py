from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import (
    EmbeddedConfig,
    InvalidFleetConfigError,
    ModelServerConfig,
)
from outcrop.fleet.secret_headers import api_key

SERVER = {"name": "gpu", "url": "http://gpu:8000/v1", "models": {"a": "b"}}


def config(**members: Any) -> ModelServerConfig:
    return msgspec.convert({**SERVER, **members}, ModelServerConfig)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"modles": {}}, "unknown field `modles`"),
        ({"url": "gpu:8000"}, r"\$.url"),
        ({"url": "http://gpu:8000/v1/"}, r"\$.url"),
        ({"name": "no spaces"}, r"\$.name"),
        ({"models": {}}, r"\$.models"),
        ({"dialect": "grpc"}, r"\$.dialect"),
        ({"timeouts": {"connect_s": 0}}, r"\$.timeouts.connect_s"),
        ({"timeouts": {"conect_s": 1}}, "unknown field `conect_s`"),
        ({"tls": {"verify": False}}, "unknown field `verify`"),
        ({"tls": {"ca_file": "x"}}, "tls is set up for a url that is not https"),
        ({"tls": {"key_file": "x"}}, r"key_file goes with a certificate_file.*\$.tls"),
        (
            {"tls": {"ca_file": "x", "insecure_skip_verify": True}},
            "insecure_skip_verify = true would leave ca_file without effect",
        ),
        ({"capabilities": {"tool": True}}, "unknown field `tool`"),
        ({"max_concurrency": 0}, r"\$.max_concurrency"),
        ({"api_key_env": "A", "api_key_file": "b"}, "api_key_env and api_key_file are both given"),
        ({"headers": {"Host": "x"}}, "headers: 'Host' cannot be set"),
        ({"headers": {"x y": "z"}}, "headers: 'x y' cannot be set"),
        ({"headers": {"X": "1"}, "header_env": {"x": "V"}}, "headers: 'X' is given twice"),
        ({"dialect": "bedrock", "discover": True}, "discover asks /models"),
        ({"discover_every_s": 0}, r"\$.discover_every_s"),
    ],
)
def test_a_mistake_is_named(members: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        config(**members)


def test_models_may_be_left_out_only_where_they_are_discovered() -> None:
    nameless = {"name": "gpu", "url": "http://gpu:8000/v1"}

    assert msgspec.convert({**nameless, "discover": True}, ModelServerConfig).models == {}
    with pytest.raises(msgspec.ValidationError, match="models names no model, and discover is"):
        msgspec.convert(nameless, ModelServerConfig)


def test_an_unknown_key_of_the_embedded_model_is_named() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `thread`"):
        msgspec.convert({"thread": 1}, EmbeddedConfig)


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")

    assert api_key(config(), {}) is None
    assert api_key(config(api_key_env="GPU_KEY"), {"GPU_KEY": "abc"}) == "abc"
    assert api_key(config(api_key_file=str(tmp_path / "key")), {}) == "from a file"


@pytest.mark.parametrize("members", [{"api_key_env": "GPU_KEY"}, {"api_key_file": "/nowhere/key"}])
def test_a_key_that_is_not_there_is_said_by_name(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidFleetConfigError, match=r"model server gpu: .*(GPU_KEY|/nowhere)"):
        api_key(config(**members), {})
