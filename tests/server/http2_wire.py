"""One HTTP/2 connection, frame by frame: in the clear with prior knowledge, or over TLS."""

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events


class Http2:
    """One connection; keeps what arrived for each stream."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.protocol = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.protocol.initiate_connection()
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.protocol.data_to_send())

    def ask(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "GET",
        authority: str = "outcrop:1",
        **more: str,
    ) -> int:
        stream = self.protocol.get_next_available_stream_id()
        head = {":method": method, ":path": path, ":scheme": "http", ":authority": authority}
        fields = [*head.items(), *((name.replace("_", "-"), value) for name, value in more.items())]
        self.protocol.send_headers(stream, fields, end_stream=not body)
        self.flush()
        self._send_body(stream, body)
        return stream

    def _send_body(self, stream: int, body: bytes) -> None:
        while body and stream not in self.ended:
            window = min(
                self.protocol.local_flow_control_window(stream),
                self.protocol.max_outbound_frame_size,
            )
            if not window:
                self.receive()
                continue
            piece, body = body[:window], body[window:]
            self.protocol.send_data(stream, piece, end_stream=not body)
            self.flush()

    def receive(self) -> bool:
        """Takes in what is there; False at the connection's end."""
        data = self.socket.recv(65_536)
        for event in self.protocol.receive_data(data):
            match event:
                case h2.events.ResponseReceived(stream_id=int(stream), headers=fields):
                    self.headers[stream] = {str(name): str(value) for name, value in fields or ()}
                    assert len(self.headers[stream]) == len(fields or ()), "each header once"
                case h2.events.DataReceived(stream_id=int(stream), data=bytes(chunk)):
                    self.bodies[stream] = self.bodies.get(stream, b"") + chunk
                    self.protocol.acknowledge_received_data(len(chunk), stream)
                case (
                    h2.events.StreamEnded(stream_id=int(stream))
                    | h2.events.StreamReset(stream_id=int(stream))
                ):
                    self.ended.add(stream)
                case _:
                    pass
        self.flush()
        return bool(data)

    def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        while stream not in self.ended and self.receive():
            pass
        return self.headers[stream], self.bodies.get(stream, b"")

    def first_of(self, stream: int) -> bytes:
        while stream not in self.bodies:
            self.receive()
        return self.bodies[stream]


@contextmanager
def http2(port: int, tls: ssl.SSLContext | None = None) -> Generator[Http2]:
    connection = Http2(port, tls)
    try:
        yield connection
    finally:
        connection.socket.close()
