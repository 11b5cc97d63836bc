"""A model server on a real socket that does what the last thing its user said tells it to.

`Call get_weather.` calls that tool, `Call get_weather and get_time.` both at once, `Call Read {…}.`
with these arguments; a tool's result is repeated; `Answer 429.` is refused with that status,
`Answer too long.` as a server does whose context is too small; `Break off.` stops in the middle;
`From the cache.` counts four input tokens as cached.
A tool that is forced, or a schema, is filled in as `filled` says. Everything else is greeted.
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.threads import serving

GREETING = "Hello from the scripted model: grüß dich, 世界."
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."

_FILLINGS = {"string": "Zürich", "integer": 7, "number": 1.5, "boolean": True, "null": None}
_FRAGMENT = 4  # Characters of a text or of a tool's arguments in one event.

Json = dict[str, Any]


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.requests: list[Json] = []
        """Bodies, oldest first."""
        self.headers: list[dict[str, str]] = []
        """Of the same requests, names in lower case."""


@contextmanager
def scripted_server() -> Generator[ScriptedServer]:
    with serving(ScriptedServer()) as server:
        yield server


def filled(schema: Json, definitions: Json | None = None) -> Any:
    """The value every test expects where a model is held to `schema`."""
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return filled(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    if alternatives := schema.get("anyOf"):
        return filled(alternatives[0], definitions)
    match schema.get("type"):
        case "object":
            members = schema.get("properties", {})
            return {name: filled(member, definitions) for name, member in members.items()}
        case "array":
            return [filled(schema["items"], definitions)]
        case kind:
            return _FILLINGS[kind or "string"]


def vector(text: str, dimensions: int) -> list[float]:
    """Always the same for the same text."""
    block = hashlib.sha256(text.encode()).digest()
    return [(block[i % len(block)] - 127.5) / 128 for i in range(dimensions)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def log_message(self, *_: object) -> None:
        """Nothing: what matters is in `requests`."""

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        match self.path:
            case "/v1/chat/completions":
                self._chat(request)
            case "/tokenize" | "/v1/../tokenize":
                self._answer(200, {"count": USAGE["prompt_tokens"], "max_model_len": 4096})
            case "/v1/embeddings":
                self._answer(200, _embeddings(request))
            case _:
                self._answer(404, {"error": {"message": f"no {self.path} here", "code": 404}})

    def _chat(self, request: Json) -> None:
        said = _said(request)
        if refusal := re.search(r"Answer (\d{3})\.", said):
            status = int(refusal[1])
            self._answer(status, {"error": {"message": f"as you wish: {status}", "code": status}})
        elif "Answer too long." in said:
            self._answer(400, {"error": {"message": TOO_LONG, "code": "context_length_exceeded"}})
        else:
            self._stream(_chunks(request, said), broken="Break off." in said)

    def _answer(self, status: int, body: Json) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _stream(self, chunks: Iterator[Json], *, broken: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, chunk in enumerate(chunks):
            if broken and number == 3:
                self.close_connection = True
                return
            self._send(f"data: {json.dumps(chunk)}\n\n")
        self._send("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, event: str) -> None:
        encoded = event.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(encoded), encoded))
        self.wfile.flush()


def _said(request: Json) -> str:
    last = [message for message in request["messages"] if message["role"] == "user"][-1:]
    return " ".join(_text(message["content"]) for message in last)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [])


def _chunks(request: Json, said: str) -> Iterator[Json]:
    calls = _calls(request, said)
    yield _chunk({"role": "assistant", "content": None if calls else ""})
    for index, (name, arguments) in enumerate(calls):
        yield from _call_chunks(index, name, arguments)
    if not calls:
        for fragment in _fragments(_words(request)):
            yield _chunk({"content": fragment})
    yield _chunk({}, "tool_calls" if calls else "stop")
    cached = {"prompt_tokens_details": {"cached_tokens": 4}} if "From the cache." in said else {}
    yield {"object": "chat.completion.chunk", "choices": [], "usage": USAGE | cached}


def _calls(request: Json, said: str) -> list[tuple[str, Any]]:
    """Which tools are called, and with what."""
    tools = {tool["function"]["name"]: tool["function"] for tool in request.get("tools") or []}
    if request["messages"][-1]["role"] == "tool":
        return []
    if order := re.search(r"Call (\w+) (\{.*\})\.", said):
        return [(order[1], json.loads(order[2]))] if order[1] in tools else []
    ordered = re.search(r"Call (\w+(?: and \w+)*)\.", said)
    names = ordered[1].split(" and ") if ordered else _forced(request.get("tool_choice"), tools)
    return [(name, filled(tools[name]["parameters"])) for name in names if name in tools]


def _forced(tool_choice: Any, tools: Json) -> list[str]:
    if tool_choice == "required":
        return list(tools)[:1]
    return [tool_choice["function"]["name"]] if isinstance(tool_choice, dict) else []


def _words(request: Json) -> str:
    last = request["messages"][-1]
    if last["role"] == "tool":
        return f"The tool says: {_text(last['content'])}"
    schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema")
    return GREETING if schema is None else json.dumps(filled(schema), ensure_ascii=False)


def _call_chunks(index: int, name: str, arguments: Any) -> Iterator[Json]:
    function = {"name": name, "arguments": ""}
    start = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
    yield _chunk({"tool_calls": [start]})
    for fragment in _fragments(json.dumps(arguments, ensure_ascii=False)):
        yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})


def _fragments(text: str) -> Iterator[str]:
    return (text[at : at + _FRAGMENT] for at in range(0, len(text), _FRAGMENT))


def _chunk(delta: Json, finish_reason: str | None = None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def _embeddings(request: Json) -> Json:
    given = request["input"]
    texts = [given] if isinstance(given, str) else given
    dimensions = request.get("dimensions") or 1024
    data = [
        {"object": "embedding", "index": index, "embedding": vector(text, dimensions)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}
