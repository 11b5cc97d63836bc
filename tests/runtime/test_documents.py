import asyncio
import contextlib
import io
import time
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest
from docx import Document
from hypothesis import given, strategies as st
from openpyxl import Workbook
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.document_child import File, Found
from outcrop.runtime.document_reader import DocumentReader
from outcrop.runtime.document_texts import NoTextError, text_of
from outcrop.runtime.documents import Formats, Readable, readable, with_texts
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    DocumentBlock,
    DocumentSource,
    Message,
    ToolResultBlock,
    ToolResultContentBlock,
)


def pdf(text: str, *, password: str | None = None, times: int = 1) -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): font})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    drawn = DecodedStreamObject()
    drawn.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET\n".encode() * times)
    page[NameObject("/Contents")] = drawn.flate_encode()
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    return saved(writer.write)


def saved(write: Any) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def docx() -> bytes:
    document = Document()
    document.add_paragraph("Hello Würzburg")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    return saved(document.save)


def xlsx() -> bytes:
    workbook = Workbook()
    sheet: Any = workbook.active
    sheet.title = "Prices"
    sheet.append(["model", "price, USD"])
    sheet.append([None, None])
    sheet.append(["nova", 1.5])
    return saved(workbook.save)


HTML = b"<html><head><style>p {}</style><script>x()</script></head><body><h1>Head</h1>"
HTML += "<p>One&nbsp;<b>bold</b> é</p><table><tr><td>a</td><td>b</td></tr></table>".encode()


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        ("txt", "grüezi".encode(), "grüezi"),
        ("txt", b"\xef\xbb\xbfmarked", "marked"),
        ("csv", "é".encode("utf-16"), "é"),
        ("md", b"# Head", "# Head"),
        ("html", HTML, "Head\nOne\xa0bold é\na\tb"),
        ("pdf", pdf("Hello PDF"), "Hello PDF"),
        ("docx", docx(), "Hello Würzburg\nleft | right"),
        ("xlsx", xlsx(), '# Prices\nmodel,"price, USD"\nnova,1.5'),
    ],
    ids=["txt", "bom", "utf-16", "md", "html", "pdf", "docx", "xlsx"],
)
def test_text_comes_out_of_every_kind(kind: str, content: bytes, text: str) -> None:
    assert text_of(kind, content) == text


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        ("pdf", b"%PDF-1.7 and then nothing", "The PDF specified was not valid"),
        ("pdf", pdf("secret", password="x"), "The PDF specified is password protected"),
        ("pdf", pdf(""), "The PDF specified has no text"),
        ("docx", b"PK rubbish", "The DOCX specified was not valid"),
        ("docx", xlsx(), "The DOCX specified was not valid"),
        ("xlsx", docx(), "The XLSX specified was not valid"),
        ("txt", b"\xff\xfe\xff", "The TXT specified was not valid"),
        ("html", b"<p> </p>", "The HTML specified has no text"),
        ("doc", b"x", "Files of the format doc are not read here"),
    ],
    ids=["broken", "locked", "empty", "rubbish", "other", "other", "bytes", "blank", "unknown"],
)
def test_a_file_without_text_is_refused_with_the_reason(
    kind: str, content: bytes, why: str
) -> None:
    with pytest.raises(NoTextError, match=why):
        text_of(kind, content)


@given(st.sampled_from(["pdf", "docx", "xlsx", "html", "csv"]), st.binary(max_size=200))
def test_rubbish_is_refused_or_read_and_nothing_else(kind: str, content: bytes) -> None:
    with contextlib.suppress(NoTextError):
        assert text_of(kind, content).strip()


@pytest.mark.slow
def test_a_file_that_unpacks_without_end_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}", b"\0" * 70_000_000)

    with pytest.raises(NoTextError, match="too large once unpacked"):
        text_of("docx", file.getvalue())


def test_a_sheet_that_lies_about_its_size_is_read_as_it_is() -> None:
    source = zipfile.ZipFile(io.BytesIO(xlsx()))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for entry in source.infolist():
            content = source.read(entry)
            archive.writestr(entry, content.replace(b'ref="A1:B3"', b'ref="A1:XFD1048576"'))

    assert text_of("xlsx", file.getvalue()).endswith("nova,1.5")


def asking(document: DocumentBlock) -> ConverseRequest:
    part = ToolResultContentBlock(document=document)
    result = ToolResultBlock(tool_use_id="a", content=[part])
    content = [ContentBlock(text="?"), ContentBlock(document=document)]
    content.append(ContentBlock(tool_result=result))
    return ConverseRequest(model_id="m", messages=[Message(role="user", content=content)])


def as_text(asked: ConverseRequest, formats: Formats | None = None) -> Asked:
    async def main() -> Asked:
        return await with_texts(asked, formats or Formats(), DocumentReader())

    return asyncio.run(main())


def test_every_file_of_a_conversation_becomes_text() -> None:
    document = DocumentBlock(format="md", name="d", source=DocumentSource(bytes=b"# Head"))

    asked = as_text(asking(document))

    expected = DocumentBlock(format="md", name="d", source=DocumentSource(text="# Head"))
    assert asked == asking(expected)


def test_a_conversation_without_files_stays_as_it_is() -> None:
    asked = asking(DocumentBlock(name="d", source=DocumentSource(text="x")))

    assert as_text(asked) is asked


def test_a_broken_file_is_refused_in_amazons_words() -> None:
    broken = DocumentBlock(format="pdf", name="d", source=DocumentSource(bytes=b"no"))

    with pytest.raises(ValidationException) as caught:
        as_text(asking(broken))

    expected = "The model returned the following errors: The PDF specified was not valid."
    assert caught.value.message == expected


@pytest.mark.parametrize("opening", [b"<!--", b"<![CDATA[", b"<a b=", b"</", b"<!", b"<?", b"<td>"])
def test_a_page_that_ends_nothing_is_read_at_once(opening: bytes) -> None:
    since = time.process_time()

    with contextlib.suppress(NoTextError):
        text_of("html", b"seen" + opening * 50_000)

    assert time.process_time() - since < 2


def word(body: str) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(docx()))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            content = source.read(entry)
            archive.writestr(entry, content.replace(b"<w:body>", f"<w:body>{body}".encode()))
    return file.getvalue()


def test_a_table_in_a_table_is_read_once() -> None:
    inner = "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>inner</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"

    text = text_of("docx", word(f"<w:tbl><w:tr><w:tc>{inner}</w:tc></w:tr></w:tbl>"))

    assert text.count("inner") == 1


def test_tables_in_tables_are_read_at_once() -> None:
    text = text_of("docx", word("<w:tr><w:tc>" * 60 + "<w:p/>" + "</w:tc></w:tr>" * 60))

    assert text.endswith("left | right")


def test_a_small_file_of_a_huge_tree_is_refused() -> None:
    with pytest.raises(NoTextError, match="too large once unpacked"):
        text_of("docx", word("<w:p/>" * 6_000_000))


def test_half_a_character_is_replaced() -> None:
    file = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(xlsx()))
    with zipfile.ZipFile(file, "w") as archive:
        for entry in source.infolist():
            archive.writestr(entry, source.read(entry).replace(b">nova<", b">no_xD83D_va<"))

    assert "va" in text_of("xlsx", file.getvalue()).encode().decode()


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_given_up() -> None:
    async def main() -> Sequence[Found]:
        return await DocumentReader(cpu_s=1).texts([File("pdf", pdf("a", times=200_000))])

    [found] = asyncio.run(main())

    assert found.no_text == "The PDF specified takes too long or too much memory to read"


@pytest.mark.slow
def test_a_caller_that_leaves_ends_the_reading() -> None:
    async def main() -> None:
        reader = DocumentReader(at_once=1)
        endless = asyncio.create_task(reader.texts([File("pdf", pdf("a", times=1_000_000))]))
        _, pending = await asyncio.wait([endless], timeout=0.3)
        assert pending
        endless.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([endless])
            # Its room is free again.
            [found] = await reader.texts([File("pdf", pdf("next"))])
        assert found.text == "next"

    asyncio.run(main())


def test_only_who_cannot_read_a_file_is_refused_for_it() -> None:
    asked = asking(DocumentBlock(format="doc", name="d", source=DocumentSource(bytes=b"x")))
    bedrock = Formats(frozenset({"doc"}), frozenset({"doc"}))

    async def main() -> Readable:
        return await readable(asked, {Formats(), bedrock}, DocumentReader())

    found = asyncio.run(main())

    assert found[bedrock] == asked
    assert isinstance(found[Formats()], ValidationException)


def test_files_in_results_become_text_where_results_are_text() -> None:
    asked = asking(DocumentBlock(format="txt", name="d", source=DocumentSource(bytes=b"x")))

    put = as_text(asked, Formats(in_messages=frozenset({"txt"})))

    assert not isinstance(put, Prompt)
    [message] = put.messages or []
    _, in_message, result = message.content
    assert in_message.document is not None
    assert in_message.document.source.bytes == b"x"
    assert result.tool_result is not None
    assert result.tool_result.content[0].document == DocumentBlock(
        format="txt", name="d", source=DocumentSource(text="x")
    )
