"""Where third-party clients are installed: environments of their own, kept between runs."""

import subprocess
import sys
import venv
from pathlib import Path

CACHE = Path(__file__).parent.parent.parent / ".cache" / "clients"


def python_environment(name: str, *requirements: str) -> Path:
    """The `bin` folder of a virtual environment that has `requirements` and nothing of ours."""
    folder = CACHE / name
    listing = folder / "requirements.txt"
    wanted = "\n".join(requirements)
    if not listing.exists() or listing.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements],
            check=True,
            stdout=sys.stderr,
        )
        listing.write_text(wanted)
    return folder / "bin"
