"""Requests that two servers might read differently, each with another one hidden in it."""

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: o\r\n\r\n"


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: o", *lines, b"", b""]) + body


_CHUNKED = b"Transfer-Encoding: chunked"
_LENGTH_0 = b"Content-Length: 0"
_END = b"0\r\n\r\n"

AMBIGUOUS: dict[str, bytes] = {
    "CL.TE": _post(b"Content-Length: 6", _CHUNKED, body=_END + HIDDEN),
    "TE.CL": _post(_CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + HIDDEN + _END),
    "TE.TE": _post(_CHUNKED, b"Transfer-Encoding: x", body=_END + HIDDEN),
    "TE twice": _post(_CHUNKED, _CHUNKED, body=_END + HIDDEN),
    "TE x": _post(b"Transfer-Encoding: xchunked", body=_END + HIDDEN),
    "TE list": _post(b"Transfer-Encoding: chunked, identity", body=_END + HIDDEN),
    "TE identity": _post(b"Transfer-Encoding: identity", body=HIDDEN),
    "TE in quotes": _post(b'Transfer-Encoding: "chunked"', body=_END + HIDDEN),
    "TE with NUL": _post(b"Transfer-Encoding: chunked\x00", body=_END + HIDDEN),
    "TE with VT": _post(b"Transfer-Encoding:\x0bchunked", body=_END + HIDDEN),
    "TE in 1.0": _post(_CHUNKED, body=_END + HIDDEN).replace(b"/1.1", b"/1.0", 1),
    "space before colon": _post(b"Transfer-Encoding : chunked", body=_END + HIDDEN),
    "tab before colon": _post(b"Content-Length\t: 0", body=HIDDEN),
    "space before name": _post(b"X: y", b" Transfer-Encoding: chunked", body=_END + HIDDEN),
    "space after Host's line": b"POST / HTTP/1.1\r\n Host: o\r\n\r\n" + HIDDEN,
    "obsolete folding": _post(b"Transfer-Encoding:", b" chunked", body=_END + HIDDEN),
    "folded length": _post(b"Content-Length: 0", b" 33", body=HIDDEN),
    "two lengths": _post(_LENGTH_0, b"Content-Length: 33", body=HIDDEN),
    "two equal lengths": _post(_LENGTH_0, _LENGTH_0, body=HIDDEN),
    "list of lengths": _post(b"Content-Length: 0, 0", body=HIDDEN),
    "length with sign": _post(b"Content-Length: +0", body=HIDDEN),
    "negative length": _post(b"Content-Length: -1", body=HIDDEN),
    "length in hex": _post(b"Content-Length: 0x0", body=HIDDEN),
    "length with underscore": _post(b"Content-Length: 0_0", body=HIDDEN),
    "length without digits": _post(b"Content-Length:", body=HIDDEN),
    "length beyond 64 bits": _post(b"Content-Length: 18446744073709551616", body=HIDDEN),
    "length in other digits": _post(b"Content-Length: \xd9\xa0", body=HIDDEN),
    "name with underscore's friend": _post(b"Content-Length\x00: 0", body=HIDDEN),
    "bare LF after the line": b"GET / HTTP/1.1\nHost: o\r\n\r\n" + HIDDEN,
    "bare LF after a header": b"POST / HTTP/1.1\r\nHost: o\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: o\r\n\n" + HIDDEN,
    "bare CR in a header": _post(b"X: a\rContent-Length: 33", body=HIDDEN),
    "bare CR after the line": b"GET / HTTP/1.1\rHost: o\r\n\r\n" + HIDDEN,
    "NUL in a value": _post(b"X: a\x00b", body=HIDDEN),
    "chunk size with sign": _post(_CHUNKED, body=b"+0\r\n\r\n" + HIDDEN),
    "chunk size with 0x": _post(_CHUNKED, body=b"0x0\r\n\r\n" + HIDDEN),
    "chunk size with space": _post(_CHUNKED, body=b" 0\r\n\r\n" + HIDDEN),
    "chunk size beyond 64 bits": _post(_CHUNKED, body=b"10000000000000000\r\n" + HIDDEN),
    "chunk size ends in LF": _post(_CHUNKED, body=b"0\n\r\n" + HIDDEN),
    "chunk size empty": _post(_CHUNKED, body=b"\r\n\r\n" + HIDDEN),
    "chunk without CRLF": _post(_CHUNKED, body=b"1\r\naX\r\n0\r\n\r\n" + HIDDEN),
    "chunk ends in LF": _post(_CHUNKED, body=b"1\r\na\n0\r\n\r\n" + HIDDEN),
    "extension with LF": _post(_CHUNKED, body=b"0;a\nb\r\n\r\n" + HIDDEN),
    "extension with CR": _post(_CHUNKED, body=b"0;a\rb\r\n\r\n" + HIDDEN),
    "trailer with LF": _post(_CHUNKED, body=b"0\r\nX: a\n\r\n" + HIDDEN),
    "trailer folded": _post(_CHUNKED, body=b"0\r\nX: a\r\n b\r\n\r\n" + HIDDEN),
    "second Host": b"GET / HTTP/1.1\r\nHost: o\r\nHost: p\r\n\r\n" + HIDDEN,
    "tab in the line": b"GET\t/ HTTP/1.1\r\nHost: o\r\n\r\n" + HIDDEN,
    "no version": b"GET /\r\nHost: o\r\n\r\n" + HIDDEN,
    "version 1.2": b"GET / HTTP/1.2\r\nHost: o\r\n\r\n" + HIDDEN,
    "version 2.0": b"GET / HTTP/2.0\r\nHost: o\r\n\r\n" + HIDDEN,
}

Fields = tuple[tuple[str, str], ...]

_METHOD, _PATH = (":method", "POST"), (":path", "/")
_SCHEME, _AUTHORITY = (":scheme", "https"), (":authority", "o")
_HEAD = (_METHOD, _PATH, _SCHEME, _AUTHORITY)

AMBIGUOUS_HTTP2: dict[str, Fields] = {
    "transfer-encoding": (*_HEAD, ("transfer-encoding", "chunked")),
    "connection": (*_HEAD, ("connection", "close")),
    "line break in a value": (*_HEAD, ("x", "a\r\ntransfer-encoding: chunked")),
    "LF in a value": (*_HEAD, ("x", "a\nb")),
    "NUL in a value": (*_HEAD, ("x", "a\0b")),
    "capitals in a name": (*_HEAD, ("X-A", "b")),
    "colon in a name": (*_HEAD, ("x:a", "b")),
    "line break in a name": (*_HEAD, ("x: y\r\nz", "b")),
    "late pseudo header": (_METHOD, _PATH, _SCHEME, ("x", "y"), _AUTHORITY),
    "two paths": (*_HEAD, (":path", "/hidden")),
    "two methods": ((":method", "GET"), *_HEAD),
    "unknown pseudo header": (*_HEAD, (":hidden", "/hidden")),
    "no path": (_METHOD, _SCHEME, _AUTHORITY),
    "empty path": (_METHOD, (":path", ""), _SCHEME, _AUTHORITY),
    "request in the path": (
        _METHOD,
        (":path", "/ HTTP/1.1\r\nHost: o\r\n\r\nGET /hidden"),
        _SCHEME,
        _AUTHORITY,
    ),
    "request in the method": ((":method", "GET /hidden HTTP/1.1\r\n"), _PATH, _SCHEME, _AUTHORITY),
    "line break in the authority": (_METHOD, _PATH, _SCHEME, (":authority", "o\r\nx: y")),
    "two hosts": (_METHOD, _PATH, _SCHEME, ("host", "o"), ("host", "p")),
    "no authority": (_METHOD, _PATH, _SCHEME),
    "length too large": (*_HEAD, ("content-length", "10")),
    "length too small": (*_HEAD, ("content-length", "1")),
    "two lengths": (*_HEAD, ("content-length", "3"), ("content-length", "4")),
    "two equal lengths": (*_HEAD, ("content-length", "3"), ("content-length", "3")),
    "length with sign": (*_HEAD, ("content-length", "+3")),
}
