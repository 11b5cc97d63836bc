"""Changelog fragments: `changes/<issue>.<kind>.md`. `--check` wants one when src/ has changed."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"\d+\.(added|changed|fixed|removed)\.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", required=True)
    parser.parse_args()
    fragments = sorted((ROOT / "changes").glob("*.md"))
    problems = [f"{path.name}: not <issue>.<kind>.md" for path in fragments if not named(path)]
    problems += [f"{path.name}: empty" for path in fragments if not path.read_text().strip()]
    if not fragments and changed_since_release():
        problems.append("src/ has changed since the last release, and changes/ says nothing")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def named(path: Path) -> bool:
    return NAME.fullmatch(path.name) is not None


def changed_since_release() -> bool:
    tag = git("describe", "--tags", "--abbrev=0") or git("rev-list", "--max-parents=0", "HEAD")
    return bool(git("diff", "--name-only", tag.split()[0], "HEAD", "--", "src")) if tag else False


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
