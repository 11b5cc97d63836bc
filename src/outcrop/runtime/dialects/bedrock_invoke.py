"""InvokeModel on Amazon Bedrock itself: the caller's own body out, Amazon's own answer back."""

from urllib.parse import quote

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Call


def relayed(body: bytes, served_as: str) -> Call:
    path = f"/model/{quote(served_as, safe='-_.~')}/invoke"
    return Call(path, body, {"accept": "application/json"})


def input_tokens(body: bytes) -> int | None:
    """Of an embedding, where the answer itself tells."""
    try:
        return msgspec.json.decode(body, type=_Counted).input_text_token_count
    except BAD_JSON:
        return None


class _Counted(Struct, frozen=True, rename="camel"):
    input_text_token_count: int | None = None
