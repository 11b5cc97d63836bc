"""One message out of its events: what Converse answers is what ConverseStream would have told."""

from collections.abc import AsyncIterator

from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ConverseMetrics,
    ConverseOutput,
    ConverseResponse,
    ConverseStreamMetadataEvent,
    ConverseStreamOutput,
    Message,
    MessageStopEvent,
    StopReason,
)


async def collected(events: AsyncIterator[ConverseStreamOutput]) -> ConverseResponse:
    texts: dict[int, list[str]] = {}
    stop_reason: StopReason = "end_turn"
    metadata: ConverseStreamMetadataEvent | None = None
    async for event in events:
        if isinstance(event, ContentBlockDeltaEvent):
            texts.setdefault(event.content_block_index, []).append(event.delta.text or "")
        elif isinstance(event, MessageStopEvent):
            stop_reason = event.stop_reason
        elif isinstance(event, ConverseStreamMetadataEvent):
            metadata = event
    assert metadata is not None, "an answer that ends has its usage"
    content = [ContentBlock(text="".join(parts)) for _, parts in sorted(texts.items())]
    return ConverseResponse(
        output=ConverseOutput(message=Message(role="assistant", content=content)),
        stop_reason=stop_reason,
        usage=metadata.usage,
        metrics=ConverseMetrics(latency_ms=metadata.metrics.latency_ms),
        performance_config=metadata.performance_config,
        service_tier=metadata.service_tier,
    )
