"""What is raised over JSON that nobody has looked at yet."""

from typing import Final

import msgspec

# msgspec lets Python's own two through: for bytes that are no text, and for nesting without end.
BAD_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
