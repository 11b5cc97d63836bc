"""A document that is not there is not written, whichever shape it was taken from."""

import msgspec

from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseMetrics,
    ConverseOutput,
    ConverseResponse,
    Message,
    MessageStopEvent,
    TokenUsage,
)


def test_an_absent_document_passes_from_shape_to_shape() -> None:
    stop = MessageStopEvent(stop_reason="end_turn", additional_model_response_fields=ABSENT)

    response = ConverseResponse(
        output=ConverseOutput(message=Message(role="assistant", content=[])),
        stop_reason=stop.stop_reason,
        usage=TokenUsage(input_tokens=1, output_tokens=1, total_tokens=2),
        metrics=ConverseMetrics(latency_ms=1),
        additional_model_response_fields=stop.additional_model_response_fields,
    )

    assert msgspec.json.decode(msgspec.json.encode(stop)) == {"stopReason": "end_turn"}
    assert "additionalModelResponseFields" not in msgspec.json.decode(msgspec.json.encode(response))
