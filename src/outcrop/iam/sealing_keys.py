"""Where the sealing keys are: in the environment, or in a file of the state folder."""

import os
import secrets
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Mapping
from pathlib import Path

from outcrop.iam.access_keys import make_state_dir
from outcrop.iam.sealing import KEY_BYTES, Sealer, SealError

FILE_NAME = "sealing-keys"
VARIABLE = "OUTCROP_SEALING_KEYS"


def ensure_sealer(state_dir: Path, environ: Mapping[str, str]) -> Sealer:
    """With the keys of the environment; else of the file, which is made if it is not there.

    Keys are base64, separated by white space, the newest first. Raises SealError.
    """
    given = environ.get(VARIABLE)
    if given is not None:
        return _sealer(given, f"The environment variable {VARIABLE}")
    path = state_dir / FILE_NAME
    if not path.exists():
        _make(state_dir)
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SealError(f"{path} cannot be read: {type(error).__name__}.") from None
    return _sealer(text, str(path))


def _sealer(text: str, where: str) -> Sealer:
    try:
        keys = [b64decode(word, validate=True) for word in text.split()]
        return Sealer(keys)
    except (BinasciiError, SealError):
        # From None: the error would quote the key.
        raise SealError(
            f"{where} needs one or more keys of {KEY_BYTES} bytes, each in base64."
        ) from None


def _make(state_dir: Path) -> None:
    """For its owner alone, and whole. Of servers that start at once one makes it."""
    make_state_dir(state_dir)
    temporary = state_dir / f".{FILE_NAME}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            (state_dir / FILE_NAME).hardlink_to(temporary)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
