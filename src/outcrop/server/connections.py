"""Client connections as the kernel knows them, for what the HTTP server cannot do.

It cannot cut one connection, and it waits for ever for the first bytes of a new one (tried: Granian
2.8 starts its header timeout only when it knows whether HTTP/1.1 or HTTP/2 is spoken).
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DESCRIPTORS = Path("/dev/fd")

# No request is shorter but one without a Host; HTTP/2's preface is as long.
FIRST_BYTES = 24

# In struct tcp_info (linux/tcp.h): tcpi_last_data_sent in milliseconds, which counts from the
# connection's beginning while nothing was sent, and tcpi_bytes_received.
_TCP_INFO = struct.Struct("=44xI80xQ")


def cut(peer: tuple[str, str]) -> None:
    """Shuts the connection to that address and port: its client sees an end before the end."""
    address = (peer[0], int(peer[1]))
    for connection in _connections():
        with connection, suppress(OSError):
            if connection.getpeername()[:2] == address:
                connection.shutdown(socket.SHUT_RDWR)


def cut_silent(local_port: int, *, timeout_s: float) -> None:
    """Shuts what was accepted on that port and has not said anything for so long."""
    for connection in _connections():
        with connection, suppress(OSError):
            if connection.getsockname()[1] == local_port and _silent_s(connection) > timeout_s:
                connection.shutdown(socket.SHUT_RDWR)


def _silent_s(connection: socket.socket) -> float:
    """For how long there has been a connection without first bytes; 0 once there are some."""
    connection.getpeername()  # a listening socket has none: OSError
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    silent_ms, bytes_received = _TCP_INFO.unpack(info)
    return silent_ms / 1000 if bytes_received < FIRST_BYTES else 0.0


def _connections() -> Iterator[socket.socket]:
    """Every TCP socket of this process. A duplicate: the original may be closed at any moment."""
    for entry in DESCRIPTORS.iterdir():
        with suppress(OSError):
            descriptor = int(entry.name)
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                duplicate = socket.socket(fileno=os.dup(descriptor))
                if duplicate.family in {socket.AF_INET, socket.AF_INET6}:
                    yield duplicate
                else:
                    duplicate.close()
