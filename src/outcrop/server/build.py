"""Which build of Outcrop this is: Python throughout, or its busiest modules machine code."""

from importlib.machinery import ExtensionFileLoader
from importlib.metadata import version
from importlib.util import find_spec


def version_text() -> str:
    """`0.1.0`, or `0.1.0 (compiled)`."""
    return f"{version('outcrop')}{' (compiled)' if is_compiled() else ''}"


def is_compiled() -> bool:
    spec = find_spec("outcrop.server.app")
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)
