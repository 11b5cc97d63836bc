"""Rows of a listing as they are kept: in the very words in which they go out.

A resource is kept as two JSON documents: its summary, as Bedrock's listings write it, and the rest.
A page of a listing takes the summaries as they are, instead of decoding and encoding every row.
"""

from msgspec import Struct


class Listed(Struct, frozen=True):
    position: int
    """Its time in the listing, in microseconds: no two rows of a listing share it."""
    summary: str
