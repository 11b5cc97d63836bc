from typing import Any

import pytest

from outcrop.runtime.families.palmyra import Palmyra
from tests.runtime.families.native import (
    NATIVE_METRICS,
    PNG,
    chunks,
    conversation,
    refused_for,
    said,
    text,
    whole,
)

PALMYRA = Palmyra()
BODY = {"messages": [{"role": "user", "content": {"text": "Explain quantum computing"}}]}


def test_the_documentations_own_example_is_understood() -> None:
    request = conversation(PALMYRA, BODY)

    content = [{"text": "Explain quantum computing"}]
    assert request["messages"] == [{"role": "user", "content": content}]
    assert request["inferenceConfig"] == {"maxTokens": 16, "temperature": 1.0, "topP": 1.0}


def test_every_field_is_honoured() -> None:
    others = {"min_tokens": 2, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": -0.1}
    fields = {"max_tokens": 10, "temperature": 2, "top_p": 0.5, "stop": ["|"]}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [image]}]

    request = conversation(PALMYRA, {"messages": messages, **fields, **others})

    assert request["messages"][0]["content"] == [
        {"image": {"format": "png", "source": {"bytes": PNG}}}
    ]
    assert request["inferenceConfig"] == {
        "maxTokens": 10,
        "temperature": 2.0,
        "topP": 0.5,
        "stopSequences": ["|"],
    }
    assert request["additionalModelRequestFields"] == others


def test_an_answer_is_a_chat_completion() -> None:
    answer = whole(PALMYRA, [text("Hello")], body=BODY, model="writer.palmyra-x5-v1:0")

    assert (answer["object"], answer["model"]) == ("chat.completion", "writer.palmyra-x5-v1:0")
    assert answer["choices"][0]["message"]["content"] == "Hello"


def test_the_last_chunk_has_usage_and_metrics() -> None:
    *_, last = chunks(PALMYRA, said("Hello"), body=BODY)

    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert last["amazon-bedrock-invocationMetrics"] == NATIVE_METRICS


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({**BODY, "max_tokens": 9000}, "#/max_tokens: 9000 is not less or equal to 8192"),
        ({**BODY, "top_p": 0}, "#/top_p: 0 is not greater than 0"),
        ({**BODY, "stop": ["x"] * 5}, "#/stop: expected maximum item count: 4, found: 5"),
        ({**BODY, "top_k": 1}, "#: extraneous key [top_k] is not permitted"),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(PALMYRA, body) == violations
