from outcrop.runtime.message import MessageParts
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ErrorBlock,
    ImageBlock,
    ImageBlockDelta,
    ImageBlockStart,
    ImageSource,
)


def drawn(*deltas: ImageBlockDelta) -> list[ContentBlock]:
    parts = MessageParts()
    start = ContentBlockStart(image=ImageBlockStart(format="png"))
    parts.add(ContentBlockStartEvent(start=start, content_block_index=0))
    for delta in deltas:
        event = ContentBlockDelta(image=delta)
        parts.add(ContentBlockDeltaEvent(delta=event, content_block_index=0))
    return parts.blocks()


def test_an_image_that_a_model_draws_is_a_block_of_its_message() -> None:
    pieces = [ImageBlockDelta(source=ImageSource(bytes=piece)) for piece in (b"a", b"b")]

    assert drawn(*pieces) == [
        ContentBlock(image=ImageBlock(format="png", source=ImageSource(bytes=b"ab")))
    ]


def test_an_image_that_could_not_be_drawn_says_why() -> None:
    [block] = drawn(ImageBlockDelta(error=ErrorBlock(message="no")))

    assert block.image is not None
    assert block.image.error == ErrorBlock(message="no")


def test_a_block_of_a_newer_kind_is_no_part_of_the_message() -> None:
    parts = MessageParts()

    parts.add(ContentBlockStartEvent(start=ContentBlockStart(), content_block_index=0))

    assert parts.blocks() == []
