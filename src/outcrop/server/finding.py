"""One thing that `outcrop doctor` found."""

from msgspec import Struct


class Finding(Struct, frozen=True):
    what: str
    mend: str = ""
    """What to do about it; empty when all is well."""

    def text(self) -> str:
        return f"WRONG  {self.what}\n       {self.mend}" if self.mend else f"ok     {self.what}"
