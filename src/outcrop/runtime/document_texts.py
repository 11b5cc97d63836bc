"""The text in a file of each kind that Converse takes."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Longer than any model reads: hostile files that unfold without end stop here.
_CHARACTERS = 8_000_000
_ROWS = 2_000_000
# What a document of office formats, which are zip files, may unfold to.
_UNZIPPED_BYTES = 200_000_000
# Of these a tree is made, twenty times as large.
_UNZIPPED_WORD_BYTES = 30_000_000

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


class NoTextError(Exception):
    """The file is none of its kind, or has no text; says which as a person would."""


def text_of(kind: str, content: bytes) -> str:
    """Raises NoTextError. Takes a while: not for the event loop."""
    read = _READERS.get(kind)
    if read is None:
        raise NoTextError(f"Files of the format {kind} are not read here")
    try:
        text = "\n".join(_limited(read(content)))
    except NoTextError:
        raise
    except MemoryError as error:
        raise NoTextError(f"The {kind.upper()} specified takes too much memory to read") from error
    except Exception as error:  # what these libraries raise on a broken file is without end
        raise NoTextError(f"The {kind.upper()} specified was not valid") from error
    if not text.strip():
        raise NoTextError(f"The {kind.upper()} specified has no text")
    return _without_surrogates(text)


def _without_surrogates(text: str) -> str:
    """Broken files have halves of characters, which cannot be written as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _limited(pieces: Iterable[str]) -> Iterator[str]:
    left = _CHARACTERS
    for piece in pieces:
        yield piece[:left]
        left -= len(piece) + 1
        if left <= 0:
            return


def _plain(content: bytes) -> Iterator[str]:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    yield content.decode("utf-16" if wide else "utf-8-sig")


def _pdf(content: bytes) -> Iterator[str]:
    from pypdf import PdfReader  # noqa: PLC0415 - only when there is one

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise NoTextError("The PDF specified is password protected")
    for page in reader.pages:
        yield page.extract_text()


def _docx(content: bytes) -> Iterator[str]:
    from docx import Document  # noqa: PLC0415 - only when there is one

    _check_size(content, _UNZIPPED_WORD_BYTES)
    document: Any = Document(io.BytesIO(content))
    yield from _word_lines(document.element.body)


def _word_lines(parent: Any) -> Iterator[str]:
    """Of the XML itself: the library's table cells multiply by numbers that the file may lie in."""
    for child in parent:
        if child.tag == f"{_WORD}p":
            yield _word_text(child)
        elif child.tag == f"{_WORD}tr":
            yield " | ".join(" ".join(_word_lines(cell)) for cell in _word_cells(child))
        else:
            yield from _word_lines(child)


def _word_cells(row: Any) -> Iterator[Any]:
    """Those of this row: a table in one of them has its own."""
    for child in row:
        if child.tag == f"{_WORD}tc":
            yield child
        else:
            yield from _word_cells(child)


_WORD_SPACES = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n"}


def _word_text(paragraph: Any) -> str:
    pieces = (
        run.text or "" if run.tag == f"{_WORD}t" else _WORD_SPACES.get(run.tag, "")
        for run in paragraph.iter()
    )
    return "".join(pieces)


def _xlsx(content: bytes) -> Iterator[str]:
    from openpyxl import load_workbook  # noqa: PLC0415 - only when there is one

    _check_size(content, _UNZIPPED_BYTES)
    workbook: Any = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    left = _ROWS
    for sheet in workbook.worksheets:
        yield f"# {sheet.title}"
        # What the file says of its size need not be so.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(values_only=True):
            left -= 1
            if left < 0:
                return
            if any(value is not None for value in row):
                yield _csv_line(row)


def _csv_line(row: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()


def _html(content: bytes) -> Iterator[str]:
    # Not Python's own parser: hostile pages keep it busy for hours (CVE-2025-6069).
    from lxml.etree import HTMLParser  # noqa: PLC0415 - only when there is one

    pieces: list[str] = []
    # The types ask of a target all that it may have; lxml tells it what it has.
    target: Any = _HtmlText(pieces)
    parser = HTMLParser(target=target, encoding="utf-8")
    parser.feed("".join(_plain(content)).encode())
    parser.close()
    lines = "".join(pieces).splitlines()
    yield from (line.strip() for line in lines if line.strip())


class _HtmlText:
    """What the parser tells of what it finds."""

    _CELLS = frozenset({"td", "th"})
    _UNSEEN = frozenset({"script", "style", "template", "noscript"})
    _INLINE = frozenset({"a", "abbr", "b", "code", "em", "i", "small", "span", "strong", "sub"})

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self._unseen = 0

    def start(self, tag: str, _attributes: object) -> None:
        self._unseen += tag in self._UNSEEN
        self._separate(tag)

    def end(self, tag: str) -> None:
        if tag in self._UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        if tag not in self._CELLS:
            self._separate(tag)

    def data(self, data: str) -> None:
        if not self._unseen:
            self._pieces.append(data)

    def close(self) -> None:
        pass

    def _separate(self, tag: str) -> None:
        if tag in self._CELLS:
            self._pieces.append("\t")
        elif tag not in self._INLINE:
            self._pieces.append("\n")


def _check_size(content: bytes, most: int) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > most:
            raise NoTextError("The document specified is too large once unpacked")


_READERS: Mapping[str, Callable[[bytes], Iterator[str]]] = {
    "csv": _plain,
    "docx": _docx,
    "html": _html,
    "md": _plain,
    "pdf": _pdf,
    "txt": _plain,
    "xlsx": _xlsx,
}
