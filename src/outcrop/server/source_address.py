"""Where a request comes from: the client's address, through proxies that are believed."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias, cast

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of addresses that are compared with the proxies' networks; there are few proxies.
KEPT = 1_024


class SourceAddresses:
    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """`trusted_proxies`: addresses and networks."""
        self._networks = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
        self._is_proxy = lru_cache(KEPT)(self._compare)

    def of(self, peer: str, headers: Mapping[str, str]) -> str:
        """`peer`: the address at the connection's other end, as `peer_address` gives it.

        Each proxy appends whom it hears from, so that the header is read from its end, for as long
        as the one who wrote it is trusted; what stands before may be anybody's invention.
        """
        if not self._networks or not self._is_proxy(peer):
            return peer
        source = peer
        for told in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = _read(told.strip())
            if address is None:
                return source
            source = str(address)
            if not self._is_proxy(source):
                return source
        return source

    def _compare(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._networks)


def peer_address(name: object) -> str:
    """Of what a transport says of its peer: one way of writing for each address."""
    if not (isinstance(name, tuple) and name):
        return ""
    host = cast("tuple[object, ...]", name)[0]
    address = _read(str(host))
    return "" if address is None else str(address)


def _read(text: str) -> Address | None:
    """Without a zone; an IPv4 address that a socket for both tells as IPv6 is one of IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
