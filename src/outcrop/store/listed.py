"""Rows of a listing as they are kept: in the very words in which they go out.

The JSON of a record is its summary as Bedrock's listings write it, with one member more, at its
end, for what only the store knows. A page of a listing cuts that off instead of decoding and
encoding every row.
"""

from msgspec import Raw, Struct

PRIVATE = "_"
"""The member's name. No string of the summary can hold what `_CUT` looks for: its quotes would be
escaped."""
_CUT = f',"{PRIVATE}":'


class Listed(Struct, frozen=True):
    position: int
    """Its time in the listing, in microseconds: no two rows of a listing share it."""
    resource_id: str
    record: str

    @property
    def summary(self) -> Raw:
        return Raw(self.record.partition(_CUT)[0] + "}")
