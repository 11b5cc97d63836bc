import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.dialect import Prompt
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.families import (
    chat_completion,
    cohere_command,
    mistral_chat,
    text_writer,
    titan_text,
)
from outcrop.runtime.families.table import family_of
from outcrop.store.catalogue import Catalogue
from outcrop.wire.shapes.bedrock_runtime import StopReason

# Their bodies are no question to a language model: texts to be ranked, films to be watched.
NOT_TRANSLATED = {
    "amazon.rerank-v1:0",
    "cohere.rerank-v3-5:0",
    "twelvelabs.pegasus-1-2-v1:0",
    "twelvelabs.pegasus-1-5-v1:0",
}

QUESTION = {"messages": [{"role": "user", "content": "hi"}]}
BODIES: Mapping[str, dict[str, Any]] = {
    "ai21.jamba-1-5-large-v1:0": {**QUESTION, "frequency_penalty": 0.1, "stop": ["|"]},
    "amazon.titan-text-express-v1": {"inputText": "hi"},
    "cohere.command-r-v1:0": {"message": "hi", "k": 5, "documents": [{"title": "t"}]},
    "deepseek.r1-v1:0": {"prompt": "hi"},
    "meta.llama3-8b-instruct-v1:0": {"prompt": "hi"},
    "mistral.mistral-7b-instruct-v0:2": {"prompt": "hi", "top_k": 5},
    "mistral.mistral-large-2402-v1:0": {"prompt": "hi"},
    "mistral.pixtral-large-2502-v1:0": {**QUESTION, "response_format": {"type": "json_object"}},
    "openai.gpt-oss-120b-1:0": {**QUESTION, "reasoning_effort": "low", "seed": 1, "stream": True},
    "writer.palmyra-x5-v1:0": {**QUESTION, "min_tokens": 1, "seed": 1},
}


def test_every_model_that_answers_in_text_has_a_family_or_is_listed() -> None:
    catalogue = Catalogue()
    writing = {
        model.model_id
        for region in ("us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1", "ap-south-1")
        for model in catalogue.foundation_models(region)
        if "TEXT" in model.output_modalities
    }

    without = {model_id for model_id in writing if family_of(model_id) is None}

    assert len(writing) > 90
    assert without == NOT_TRANSLATED


@pytest.mark.parametrize(
    "model_id", [*BODIES, "anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1:0"]
)
def test_a_model_of_every_family_can_be_served_though_amazon_retired_some(model_id: str) -> None:
    model = Catalogue().foundation_model("us-east-1", model_id)

    assert model is not None
    assert model.converses


@pytest.mark.parametrize(
    ("model_id", "family"),
    [
        ("ai21.jamba-1-5-large-v1:0", "Jamba"),
        ("amazon.titan-text-express-v1", "TitanText"),
        ("cohere.command-r-plus-v1:0", "CohereCommand"),
        ("deepseek.r1-v1:0", "DeepSeekR1"),
        ("deepseek.v3.1", "OpenAi"),
        ("meta.llama4-scout-17b-instruct-v1:0", "Llama"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "MistralPrompt"),
        ("mistral.mistral-large-2407-v1:0", "MistralEither"),
        ("mistral.mistral-large-3-675b-instruct", "OpenAi"),
        ("mistral.pixtral-large-2502-v1:0", "MistralChat"),
        ("writer.palmyra-x5-v1:0", "Palmyra"),
    ],
)
def test_a_model_finds_its_own_family(model_id: str, family: str) -> None:
    assert type(family_of(model_id)).__name__ == family


def test_only_gpt_oss_thinks_aloud() -> None:
    assert family_of("openai.gpt-oss-120b-1:0") is not family_of("openai.gpt-6-sol")
    assert family_of("openai.gpt-6-sol") is family_of("qwen.qwen3-32b-v1:0")


@pytest.mark.parametrize(
    "reasons",
    [
        chat_completion.FINISH_REASONS,
        cohere_command.FINISH_REASONS,
        mistral_chat.STOP_REASONS,
        text_writer.STOP_OR_LENGTH,
        titan_text.COMPLETION_REASONS,
    ],
)
def test_every_reason_to_stop_has_a_word(reasons: Mapping[StopReason, str]) -> None:
    assert reasons.keys() == {*get_args(StopReason)}


@pytest.mark.parametrize("model_id", BODIES)
def test_what_a_family_asks_can_be_asked_of_a_model_server(model_id: str) -> None:
    family = family_of(model_id)
    assert family is not None
    body = json.dumps(BODIES[model_id]).encode()

    asked = family.asked(body, model_id, streaming=True)

    call = OpenAiChat().call(asked, "served-as", Capabilities())
    sent = json.loads(call.body)
    assert sent["model"] == "served-as"
    assert call.path == ("/completions" if isinstance(asked, Prompt) else "/chat/completions")
    # Servers go on from a prompt for 16 tokens where nobody says otherwise.
    assert not isinstance(asked, Prompt) or sent["max_tokens"] > 16
