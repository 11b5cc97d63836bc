"""What the documents name exists."""

import re
import shlex
from pathlib import Path

import pytest

from outcrop.server.arguments import parser
from outcrop.server.config import load_config

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "AGENTS.md"),
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    page = ROOT / document

    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose(page)) if "://" not in link]

    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    fenced = rf"^```{language}\n(.*?)^```"
    return re.findall(fenced, (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_can_be_said(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(blocks(document, "(?:sh|console)?"))
    said = re.findall(r"^\s*(?:\$ )?outcrop (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    monkeypatch.chdir(tmp_path)

    for command in said:
        words = [word for word in shlex.split(command, comments=True) if word != "&"]
        for file in (word for word in words if word.endswith((".json", ".pem"))):
            (tmp_path / file).touch()
        assert parser().parse_args(words).command == words[0]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_configuration_can_be_used(document: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        load_config(path, {})


def test_every_package_is_on_the_map_and_has_the_modules_that_it_names() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    source = ROOT / "src" / "outcrop"
    _, *rest = re.split(r"^\| \*\*`(\w+)/`\*\*", text, flags=re.MULTILINE)
    rows = dict(zip(rest[::2], rest[1::2], strict=True))

    packages = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    named = {
        f"{package}/{name}"
        for package, words in rows.items()
        for name in re.findall(r"`([a-z_0-9/]+\.py|[a-z_]+/)`", words.partition("\n\n")[0])
    }

    assert packages == set(rows)
    assert {name for name in named if not (source / name).exists()} == set()


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for document in DOCUMENTS:
        named = set(re.findall(r"`(?:KEEP=1 )?make ([a-z-]+)", (ROOT / document).read_text()))
        assert named - targets == set()
