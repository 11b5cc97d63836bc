from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig
from outcrop.fleet.secret_headers import headers_of

ENVIRON = {"KEY": "k", "BAD": "a\nb", "GATEWAY": "g"}


def headers(**members: Any) -> dict[str, str]:
    settings = {"name": "gpu", "url": "http://gpu/v1", "models": {"a": "b"}, **members}
    return headers_of(msgspec.convert(settings, ModelServerConfig), ENVIRON)


def test_the_key_goes_where_the_dialect_looks_for_it() -> None:
    assert headers() == {}
    assert headers(api_key_env="KEY") == {"authorization": "Bearer k"}
    assert headers(dialect="anthropic", api_key_env="KEY") == {
        "anthropic-version": "2023-06-01",
        "x-api-key": "k",
    }


def test_the_operators_headers_win_whatever_their_case() -> None:
    found = headers(
        dialect="anthropic",
        headers={"Anthropic-Version": "2024-01-01"},
        header_env={"X-Gateway": "GATEWAY"},
    )

    assert found == {"anthropic-version": "2024-01-01", "x-gateway": "g"}


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"header_env": {"x": "NONE"}}, "variable NONE, named by header_env, is not set"),
        ({"header_env": {"x": "BAD"}}, "the value of the header x holds characters"),
        ({"headers": {"x": "\u20ac"}}, "the value of the header x holds characters"),
    ],
)
def test_what_cannot_be_sent_is_named_and_not_shown(
    members: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidFleetConfigError, match=f"model server gpu: .*{complaint}"):
        headers(**members)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff"])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)

    with pytest.raises(InvalidFleetConfigError, match=r"model server gpu: api_key_file .*key"):
        headers(api_key_file=str(path))
