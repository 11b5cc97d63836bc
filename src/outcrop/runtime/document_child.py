"""Reads files in a process of its own: `python -m` this module, and the seconds it may take.

Files come from callers, and the libraries that read them have no limits: a page of 75 MB keeps one
busy for minutes, and holds the interpreter meanwhile.
"""

import resource
import sys

import msgspec
from msgspec import Struct

from outcrop.runtime.document_texts import NoTextError, text_of

_MEMORY_BYTES = 1024 * 1024 * 1024


class File(Struct, frozen=True, array_like=True):
    kind: str
    content: bytes


class Found(Struct, frozen=True, array_like=True):
    """Of one file: its text, or why there is none."""

    text: str = ""
    no_text: str | None = None


def found(file: File) -> Found:
    try:
        return Found(text_of(file.kind, file.content))
    except NoTextError as error:
        return Found(no_text=str(error))


def main(cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    if sys.platform == "linux":  # others do not know how, and refuse
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    files = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[File])
    sys.stdout.buffer.write(msgspec.msgpack.encode([found(file) for file in files]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
