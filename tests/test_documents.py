"""What the documents name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "AGENTS.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()

    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_module_on_the_map_exists_and_every_package_is_on_it() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    source = ROOT / "src" / "outcrop"

    modules = set(re.findall(r"\b([a-z_0-9]+\.py)\b", text))
    packages = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}

    assert modules - {path.name for path in source.rglob("*.py")} == set()
    assert {name for name in packages if f"── {name}/" not in text} == set()


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for document in DOCUMENTS:
        named = set(re.findall(r"`(?:KEEP=1 )?make ([a-z-]+)", (ROOT / document).read_text()))
        assert named - targets == set()
