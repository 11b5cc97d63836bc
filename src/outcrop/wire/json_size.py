"""How many values a JSON text may hold: reading many small ones is what keeps a process busy."""

from outcrop.wire.errors import ValidationException

MOST_VALUES = 100_000
"""No conversation comes near it, and what has fewer is read and passed on in some 0.1 s."""

LARGE_BYTES = 262_144
"""A body from here on is seen to in steps, between which other requests have their turn."""

# A value and what separates it from the next: shorter texts hold fewer values than the most.
_SURELY_FEW_BYTES = 2 * MOST_VALUES


def check_size(text: bytes) -> None:
    """Raises ValidationException."""
    if len(text) > _SURELY_FEW_BYTES and holds_too_much(text):
        raise ValidationException(f"The request body holds more than {MOST_VALUES} JSON values.")


def holds_too_much(text: bytes) -> bool:
    """Told without reading it: 20 MB in milliseconds, whether or not they are JSON."""
    if len(text) <= _SURELY_FEW_BYTES or _places(text) <= MOST_VALUES:
        return False
    # To look for what is not there takes as long as all the rest.
    if text.find(b"\\") >= 0:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Four quotes a value: its own, and those of its key.
    if text.count(b'"') > 4 * MOST_VALUES:
        return True
    return _places(b"".join(text.split(b'"')[::2])) > MOST_VALUES


def _places(text: bytes) -> int:
    """Where a value may stand: alone, after a comma, first in a list or an object."""
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")
