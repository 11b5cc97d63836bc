from base64 import b64encode
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import pytest
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.serialize import create_serializer
from hypothesis import given, strategies as st
from msgspec import Raw, json

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse, ConverseReader
from outcrop.runtime.dialects.dialect import ComplaintError, ModelEvent, Prompt
from outcrop.wire.errors import (
    AwsError,
    InternalServerException,
    ModelErrorException,
    ModelNotReadyException,
    ModelStreamErrorException,
    ModelTimeoutException,
    ServiceUnavailableException,
    ThrottlingException,
    ValidationException,
)
from outcrop.wire.eventstream import (
    Frame,
    FrameReader,
    encode_error,
    encode_event,
    encode_exception,
    padded,
)
from outcrop.wire.http import HttpRequest
from outcrop.wire.shapes.bedrock_runtime import (
    CONVERSE,
    CONVERSE_STREAM,
    InferenceConfiguration,
    MessageStartEvent,
    MessageStopEvent,
    TokenUsage,
)
from tests.runtime.requests import converse_request, stream_request
from tests.wire.model import MODELS, MOST_ARMS, fullest, modelled, smallest

BEDROCK = Capabilities(documents=True)
DIALECT = BedrockConverse()
EVENTS = {
    name: shape
    for name, shape in MODELS["bedrock-runtime"].shape_for("ConverseStreamOutput").members.items()
    if not name.endswith("Exception")
}


def frame(name: str, payload: Any, *, padding: int = 0) -> bytes:
    return encode_event(name, padded(json.encode(payload), padding))


USAGE = {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 3}
ANSWER = b"".join(
    [
        frame("messageStart", {"role": "assistant"}, padding=7),
        frame(
            "contentBlockDelta",
            {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm 🤔"}}},
        ),
        frame("contentBlockStop", {"contentBlockIndex": 0}, padding=40),
        frame(
            "contentBlockStart",
            {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}},
        ),
        frame(
            "contentBlockDelta",
            {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"city":"Köln"}'}}},
        ),
        frame("contentBlockStop", {"contentBlockIndex": 1}),
        frame(
            "messageStop",
            {
                "stopReason": "tool_use",
                "additionalModelResponseFields": {"delta": {"stop_sequence": None}},
            },
        ),
        frame(
            "metadata",
            {
                "usage": USAGE,
                "metrics": {"latencyMs": 123},
                "trace": {"guardrail": {"actionReason": "No action."}},
                "performanceConfig": {"latency": "optimized"},
                "serviceTier": {"type": "priority"},
            },
        ),
    ]
)


def read(*chunks: bytes) -> list[ModelEvent]:
    reader = ConverseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)] + [*reader.end()]


def told_again(events: list[ModelEvent]) -> list[Frame]:
    """As Outcrop's own caller gets them."""
    frames = b"".join(CONVERSE_STREAM.encode_event(event) for event in events)  # type: ignore[arg-type]
    return [*FrameReader().feed(frames)]


def samples(operation: Any) -> Iterator[Any]:
    shape = modelled(operation).input_shape
    yield smallest(shape)
    yield from (fullest(shape, arm) for arm in range(MOST_ARMS))


def as_sent(operation: Any, parameters: dict[str, Any]) -> HttpRequest:
    serializer = create_serializer("rest-json", include_validation=True)
    request = serializer.serialize_to_request(parameters, modelled(operation))
    prepare_request_dict(request, endpoint_url="http://localhost", context={})
    prepared = create_request_object(request).prepare()
    path = prepared.url.removeprefix("http://localhost")
    return HttpRequest(method="POST", raw_path=path, headers={}, body=prepared.body)


def named_apart(value: Any, numbers: Iterator[int]) -> Any:
    """Documents, as Amazon demands."""
    if isinstance(value, list):
        elements: list[Any] = value
        return [named_apart(one, numbers) for one in elements]
    if not isinstance(value, dict):
        return value
    members: dict[str, Any] = value
    apart = {name: named_apart(one, numbers) for name, one in members.items()}
    return {**apart, "name": f"d{next(numbers)}"} if "context" in apart else apart


@pytest.mark.parametrize("operation", [CONVERSE, CONVERSE_STREAM], ids=lambda o: o.name)
def test_amazon_is_asked_in_the_callers_own_words(operation: Any) -> None:
    for sample in samples(operation):
        sent = as_sent(operation, named_apart(sample, count()))
        request = operation.decode(sent, {"modelId": sample["modelId"]})

        call = DIALECT.call(request, sample["modelId"], BEDROCK)

        assert json.decode(call.body) == json.decode(sent.body or b"{}")
        assert call.path.removesuffix("-stream") == sent.raw_path.removesuffix("-stream")


def test_the_model_goes_by_its_name_there() -> None:
    arn = "arn:aws:bedrock:us-west-2:111122223333:inference-profile/us.amazon.nova-lite-v1:0"

    call = DIALECT.call(stream_request("amazon.nova-lite-v1:0"), arn, BEDROCK)

    assert call.path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A111122223333%3Ainference-profile%2F"
        "us.amazon.nova-lite-v1%3A0/converse-stream"
    )
    assert call.headers == {"accept": "application/vnd.amazon.eventstream"}


def test_documents_and_guardrails_pass_untouched() -> None:
    members: dict[str, Any] = {
        "additionalModelRequestFields": {"thinking": {"type": "enabled"}, "n": 1.50},
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "requestMetadata": {"team": "a"},
    }

    body = json.decode(DIALECT.call(converse_request(**members), "m", BEDROCK).body)

    assert {name: body[name] for name in members} == members
    assert body.keys() == {"messages", *members}


def test_amazon_is_asked_for_its_own_count() -> None:
    request = converse_request(system=[{"text": "Be brief."}], inferenceConfig={"maxTokens": 7})

    call = DIALECT.count_tokens(request, "us.m:0", BEDROCK)

    assert call.path == "/model/us.m%3A0/count-tokens"
    assert json.decode(call.body) == {
        "input": {
            "converse": {
                "messages": [{"role": "user", "content": [{"text": "hello"}]}],
                "system": [{"text": "Be brief."}],
            }
        }
    }


PROMPTS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "us.meta.llama3-1-8b-instruct-v1:0",
        {"prompt": "[INST]", "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9},
        [
            {"generation": "Köl", "stop_reason": None, "prompt_token_count": 4},
            {"generation": "n", "stop_reason": "length"},
        ],
    ),
    (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "[INST]", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["END"]},
        [
            {"outputs": [{"text": "Köl", "stop_reason": None}]},
            {"outputs": [{"text": "n", "stop_reason": "length"}]},
        ],
    ),
    (
        "us.deepseek.r1-v1:0",
        {"prompt": "[INST]", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["END"]},
        [
            {"choices": [{"text": "Köl", "stop_reason": None}]},
            {"choices": [{"text": "n", "stop_reason": "length"}]},
        ],
    ),
    (
        "amazon.titan-text-express-v1",
        {
            "inputText": "[INST]",
            "textGenerationConfig": {
                "maxTokenCount": 9,
                "temperature": 0.5,
                "topP": 0.9,
                "stopSequences": ["END"],
            },
        },
        [
            {"outputText": "Köl", "index": 0, "completionReason": None},
            {"outputText": "n", "completionReason": "LENGTH"},
        ],
    ),
]


@pytest.mark.parametrize(("model_id", "body", "chunks"), PROMPTS)
def test_a_raw_prompt_goes_in_the_body_of_its_family(
    model_id: str, body: dict[str, Any], chunks: list[dict[str, Any]]
) -> None:
    config = InferenceConfiguration(
        max_tokens=9, temperature=0.5, top_p=0.9, stop_sequences=["END"]
    )
    prompt = Prompt(
        model_id="arn:of-a-profile",
        prompt="[INST]",
        inference_config=config,
        additional_model_request_fields=Raw(b'{"top_k":5}'),
    )
    chunks[-1]["amazon-bedrock-invocationMetrics"] = {"inputTokenCount": 4, "outputTokenCount": 2}
    answer = [frame("chunk", {"bytes": b64encode(json.encode(chunk)).decode()}) for chunk in chunks]

    call = DIALECT.call(prompt, model_id, BEDROCK)
    reader = DIALECT.reader(prompt)
    events = [event for one in answer for event in reader.feed(one)] + [*reader.end()]

    assert call.path.endswith("/invoke-with-response-stream")
    assert json.decode(call.body) == {**body, "top_k": 5}
    assert [event.delta.text for event in events[1:3]] == ["Köl", "n"]  # type: ignore[union-attr]
    assert events[0] == MessageStartEvent(role="assistant")
    assert events[-2:] == [
        MessageStopEvent(stop_reason="max_tokens"),
        TokenUsage(input_tokens=4, output_tokens=2, total_tokens=6),
    ]


def test_the_callers_name_of_the_model_tells_the_family_where_amazons_does_not() -> None:
    prompt = Prompt(model_id="meta.llama3-8b-instruct-v1:0", prompt="x")

    call = DIALECT.call(prompt, "arn:aws:bedrock:us-east-1:1:provisioned-model/a", BEDROCK)

    assert json.decode(call.body) == {"prompt": "x"}


def test_a_chunk_that_makes_no_sense_is_a_failure_of_the_server() -> None:
    with pytest.raises(ComplaintError, match="not a chunk of InvokeModel"):
        read(frame("chunk", {"bytes": b64encode(b"<html>").decode()}))


def test_another_raw_prompt_is_what_the_user_says() -> None:
    call = DIALECT.call(Prompt(model_id="m", prompt="hi"), "m", BEDROCK)

    assert json.decode(call.body) == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_what_amazon_answers_is_what_the_caller_gets() -> None:
    frames = [*FrameReader().feed(ANSWER)]

    again = told_again(read(ANSWER))

    assert [one.headers for one in again] == [one.headers for one in frames]
    for one, other in zip(again, frames, strict=True):
        payload = json.decode(other.payload)
        payload.pop("p", None)
        assert json.decode(one.payload) == payload


@pytest.mark.parametrize("name", EVENTS)
def test_every_member_of_every_event_passes(name: str) -> None:
    for arm in range(MOST_ARMS):
        payload = _on_the_wire(fullest(EVENTS[name], arm))

        (event,) = ConverseReader().feed(frame(name, payload))

        (again,) = told_again([event])
        assert json.decode(again.payload) == payload
        assert again.headers[":event-type"] == name


def _on_the_wire(value: Any) -> Any:
    match value:
        case dict():
            return {name: _on_the_wire(member) for name, member in value.items()}
        case list():
            return [_on_the_wire(member) for member in value]
        case bytes():
            return b64encode(value).decode()
        case _:
            return value


def test_events_of_the_future_are_passed_over() -> None:
    assert read(frame("news", {"x": 1}), ANSWER) == read(ANSWER)


@given(st.lists(st.integers(0, len(ANSWER)), max_size=8))
def test_any_chunking_tells_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(ANSWER)]

    assert read(*[ANSWER[a:b] for a, b in pairwise(places)]) == read(ANSWER)


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("validationException", {"message": "no"}, ValidationException("no")),
        ("modelTimeoutException", {"message": "late"}, ModelTimeoutException("late")),
        ("throttlingException", {"message": "slow"}, ThrottlingException("slow")),
        ("internalServerException", {"message": "oh"}, InternalServerException("oh")),
        ("serviceUnavailableException", {"message": "ah"}, ServiceUnavailableException("ah")),
        (
            "modelStreamErrorException",
            {"message": "m", "originalStatusCode": 500, "originalMessage": "o"},
            ModelStreamErrorException("m", originalStatusCode=500, originalMessage="o"),
        ),
    ],
)
def test_an_exception_in_the_stream_is_the_callers(
    name: str, payload: dict[str, Any], error: AwsError
) -> None:
    reader = ConverseReader()
    heard = [*reader.feed(frame("messageStart", {"role": "assistant"}))]

    with pytest.raises(ComplaintError) as raised:
        [*reader.feed(encode_exception(name, json.encode(payload)))]

    assert heard == [MessageStartEvent(role="assistant")]
    told = raised.value.complaint.error
    assert told is not None
    assert (type(told), told.message, told.members) == (type(error), error.message, error.members)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (b"", "before the model was done"),
        (encode_exception("newException", b'{"message":"new"}'), "new"),
        (encode_error("InternalFailure", "oh"), "InternalFailure oh"),
        (b"HTTP is not an event stream", "checksum"),
        (frame("messageStop", {"stopReason": "boredom"}), "not an event of Converse"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure_of_the_server(last: bytes, words: str) -> None:
    with pytest.raises(ComplaintError, match=words) as raised:
        read(frame("messageStart", {"role": "assistant"}), last)

    assert raised.value.complaint.status == 502
    assert raised.value.complaint.error is None


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            400,
            {"message": "The model returned the following errors: prompt is too long"},
            ValidationException("The model returned the following errors: prompt is too long"),
        ),
        (408, {"message": "late"}, ModelTimeoutException("late")),
        (
            424,
            {"message": "m", "originalStatusCode": 500, "resourceName": "r"},
            ModelErrorException("m", originalStatusCode=500, resourceName="r"),
        ),
        (429, {"message": "Too many tokens."}, ThrottlingException("Too many tokens.")),
        (429, {"message": "It is not ready yet."}, ModelNotReadyException("It is not ready yet.")),
        (500, {"message": "oh"}, InternalServerException("oh")),
        (503, {"message": "ah"}, ServiceUnavailableException("ah")),
    ],
)
def test_amazons_errors_are_the_callers(status: int, body: dict[str, Any], error: AwsError) -> None:
    told = DIALECT.complaint(status, json.encode(body)).error

    assert told is not None
    assert (type(told), told.message, told.members) == (type(error), error.message, error.members)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, b'{"Message":"User: arn:aws:iam::1:user/ops is not authorized"}', "User: arn"),
        (403, b'{"message":"The security token is invalid."}', "The security token"),
        (404, b'{"message":"end of its life"}', "end of its life"),
        (502, b"<html>bad gateway</html>", "<html>bad gateway</html>"),
    ],
)
def test_what_is_between_the_operator_and_amazon_is_only_logged(
    status: int, body: bytes, message: str
) -> None:
    complaint = DIALECT.complaint(status, body)

    assert complaint.error is None
    assert complaint.message.startswith(message)
    assert complaint.status == status
