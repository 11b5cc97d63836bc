"""Where a request comes from, and whose word is taken for it."""

import pytest
from hypothesis import given, strategies as some

from outcrop.server.config import ConfigurationError, load_config
from outcrop.server.source_address import SourceAddresses, peer_address

PROXIES = ("10.0.0.0/8", "2001:db8::7")


def source(peer: str, forwarded: str | None, proxies: tuple[str, ...] = PROXIES) -> str:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return SourceAddresses(proxies).of(peer, headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9,2001:db8::7", "203.0.113.9"),
        ("10.0.0.1", "10.5.5.5, 10.2.3.4", "10.5.5.5"),
        ("10.0.0.1", "203.0.113.9, rubbish", "10.0.0.1"),
        ("10.0.0.1", "rubbish, 10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        ("2001:db8::7", "203.0.113.9", "203.0.113.9"),
        ("2001:db8::8", "203.0.113.9", "2001:db8::8"),
        ("", "203.0.113.9", ""),
    ],
)
def test_only_what_a_trusted_proxy_heard_itself_is_believed(
    peer: str, forwarded: str | None, expected: str
) -> None:
    assert source(peer, forwarded) == expected


@given(some.text(max_size=50))
def test_nobody_else_can_say_where_a_request_comes_from(forged: str) -> None:
    assert source("192.0.2.1", forged) == "192.0.2.1"
    assert source("192.0.2.1", forged, ()) == "192.0.2.1"
    assert source("10.0.0.1", f"{forged}, 203.0.113.9") == "203.0.113.9"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("127.0.0.1", 1), "127.0.0.1"),
        (("::ffff:127.0.0.1", 1, 0, 0), "127.0.0.1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_peer_has_one_way_of_being_written(name: object, expected: str) -> None:
    assert peer_address(name) == expected


def test_what_is_no_network_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"trusted_proxies: .* is no address"):
        load_config(None, {"trusted_proxies": ["10.0.0.1/8"]})
