"""What servers of OpenAI's API say when something is wrong."""

import re

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Complaint

_STATUS = re.compile("[45][0-9]{2}")


class _Error(Struct, frozen=True):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _ErrorDocument(Struct, frozen=True):
    error: _Error | str | None = None
    message: str = ""
    type: str | None = None
    code: str | int | None = None


def complaint(status: int, body: bytes) -> Complaint:
    """From `{"error": {…}}`, `{"message": …}`, or whatever else came."""
    try:
        document = msgspec.json.decode(body, type=_ErrorDocument)
    except BAD_JSON:
        return Complaint(status, body.decode(errors="replace").strip())
    error = document.error
    if isinstance(error, str):
        return Complaint(status, error)
    error = error or _Error(message=document.message, type=document.type, code=document.code)
    return Complaint(
        _status(error.code) or status,
        error.message or body.decode(errors="replace").strip(),
        input_too_long=_is_input_too_long(error),
    )


def _status(code: str | int | None) -> int | None:
    """Where it is one: gateways write it as a word, and vendors have numbers of their own."""
    told = str(code)
    return int(told) if _STATUS.fullmatch(told) else None


def _is_input_too_long(error: _Error) -> bool:
    """llama.cpp has a type for it, OpenAI a code, vLLM and SGLang a sentence."""
    return (
        error.type == "exceed_context_size_error"
        or error.code == "context_length_exceeded"
        or "maximum context length" in error.message
        or "longer than the model's context length" in error.message
    )
