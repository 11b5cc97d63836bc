"""A bucket server on a real socket: by itself, or in front of a real one; it fails when told to."""

import http.client
import re
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct, field

from tests.fakes.threads import serving

PART = re.compile(r"PUT .*[?&]partNumber=(\d+)")
"""A request's line that brings a part."""


class Fault(Struct):
    """What becomes of the next `times` requests whose line, `PUT /bucket/key?query`, fits."""

    line: str
    does: str = "refuses"
    """Or `drops` the connection, `loses` the answer to what it did, or `holds`: nothing is done or
    answered."""
    times: int = 1


class S3Server(ThreadingHTTPServer):
    """Objects and uploads in parts, in memory."""

    daemon_threads = True

    def __init__(self, behind: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.behind = behind
        self.faults: list[Fault] = []
        self.lines: list[str] = []
        """Of all requests that came, oldest first."""
        self.held = Event()
        self.bucket = Bucket()

    def fault(self, line: str) -> str | None:
        for fault in self.faults:
            if fault.times and re.search(fault.line, line):
                fault.times -= 1
                return fault.does
        return None


class Bucket(Struct):
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """By `/bucket/key`."""
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])
    """Parts of what is not complete, by `/bucket/key` and id."""
    begun: int = 0

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, str]:
        asked = {name: values[0] for name, values in parse_qs(query, True).items()}
        status, text = 200, ""
        match method, asked:
            case "GET", {"uploads": _}:
                text = self._listed(asked.get("prefix", ""))
            case "POST", {"uploads": _}:
                self.begun += 1
                self.uploads[f"{path} {self.begun}"] = {}
                text = f"<R><UploadId>{self.begun}</UploadId></R>"
            case "PUT", {"partNumber": number, "uploadId": upload_id}:
                self.uploads[f"{path} {upload_id}"][int(number)] = body
            case "POST", {"uploadId": upload_id}:
                parts = self.uploads.pop(f"{path} {upload_id}")
                listed = [int(one) for one in re.findall(rb"<PartNumber>(\d+)<", body)]
                self.objects[path] = b"".join(parts[number] for number in listed)
            case "DELETE", {"uploadId": upload_id}:
                gone = self.uploads.pop(f"{path} {upload_id}", None) is None
                status = 404 if gone else 204
            case _:
                self.objects[path] = body
        return status, text

    def _listed(self, prefix: str) -> str:
        begun = (name.rpartition(" ") for name in self.uploads)
        keys = ((path.split("/", 2)[2], upload_id) for path, _, upload_id in begun)
        return "".join(
            f"<Upload><Key>{key}</Key><UploadId>{upload_id}</UploadId></Upload>"
            for key, upload_id in keys
            if key.startswith(prefix)
        )


@contextmanager
def s3_server(behind: str | None = None) -> Generator[S3Server]:
    """`behind`: the URL of the server that is really asked."""
    with serving(S3Server(behind)) as server:
        try:
            yield server
        finally:
            server.held.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        line = f"{self.command} {self.path}"
        self.server.lines.append(line)
        match self.server.fault(line):
            case "drops":
                self.close_connection = True
            case "holds":
                self.server.held.set()
                self.close_connection = True
                self.rfile.read(1)  # until whoever asked is gone
            case "refuses":
                self._answer(503, b"<Error><Code>SlowDown</Code></Error>", {})
            case "loses":
                self.server.bucket.answer(*self._asked(), body)
                self.close_connection = True
            case _:
                self._serve(body)

    def _serve(self, body: bytes) -> None:
        if self.server.behind is not None:
            self._forward(self.server.behind, body)
            return
        status, text = self.server.bucket.answer(*self._asked(), body)
        self._answer(status, text.encode(), {"ETag": '"tag"'})

    def _asked(self) -> tuple[str, str, str]:
        path, _, query = self.path.partition("?")
        return self.command, unquote(path), query

    def _forward(self, behind: str, body: bytes) -> None:
        """With the `host` that was signed."""
        connection = http.client.HTTPConnection(urlsplit(behind).netloc)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        etag = answer.headers.get("ETag")
        self._answer(answer.status, answer.read(), {"ETag": etag} if etag else {})
        connection.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 - their names

    def log_message(self, *_: object) -> None:
        """Says nothing."""
