"""Whether JSON says a key of one object twice: what decoding does not tell."""

import re

import msgspec

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)


class _Open:
    """An object or array that has begun and not ended."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.step: str | int = 0

    def __str__(self) -> str:
        return f"[{self.step}]" if isinstance(self.step, int) else f".{self.step}"


def said_twice(text: str) -> str | None:
    """The place of the first key that its object has already, `$.Statement[0].Effect`.

    `text` is well-formed JSON.
    """
    opened: list[_Open] = []
    last = ""
    for found in _TOKEN.finditer(text):
        match found[0]:
            case "{" | "[":
                opened.append(_Open())
            case "}" | "]":
                opened.pop()
            case ",":
                inner = opened[-1]
                inner.step = inner.step + 1 if isinstance(inner.step, int) else inner.step
            case ":":
                key = opened[-1].step = msgspec.json.decode(last, type=str)
                if key in opened[-1].keys:
                    return "$" + "".join(map(str, opened))
                opened[-1].keys.add(key)
            case string:
                last = string
    return None
