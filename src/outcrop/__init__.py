"""Amazon Bedrock's API on models you run."""

import sys

if sys.platform == "win32":  # before a module that only POSIX has is missed
    raise SystemExit("outcrop: it runs on Linux and macOS; on Windows, within WSL")
