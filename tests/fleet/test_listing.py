from typing import Any

import msgspec
import pytest

from outcrop.fleet.listing import ListedModel, NoListingError, listed_models

DEEP = b'{"data":[],"models":' + b"[" * 100_000


def listed(*rows: dict[str, Any], **more: Any) -> tuple[ListedModel, ...]:
    return listed_models(msgspec.json.encode({"object": "list", "data": rows, **more}))


def test_a_plain_list_tells_names_and_nothing_else() -> None:
    row = {"id": "llama", "object": "model", "created": 1, "owned_by": "library"}

    assert listed(row) == (ListedModel(name="llama"),)


def test_vllm_tells_how_long_a_context_may_be() -> None:
    row = {"id": "llama", "max_model_len": 8192, "root": "llama", "parent": None, "permission": []}

    assert listed(row) == (ListedModel(name="llama", context_tokens=8192),)


@pytest.mark.parametrize(
    ("capabilities", "images"), [(["completion"], False), (["completion", "multimodal"], True)]
)
def test_llama_cpp_tells_whether_it_sees(capabilities: list[str], *, images: bool) -> None:
    row = {"id": "m.gguf", "meta": {"n_ctx_train": 4096, "n_vocab": 32000, "size": 1}}
    models = [{"name": "m.gguf", "model": "m.gguf", "capabilities": capabilities}]

    assert listed(row, models=models) == (
        ListedModel(name="m.gguf", context_tokens=4096, images=images),
    )


def test_open_router_tells_what_a_model_takes() -> None:
    row = {
        "id": "meta-llama/llama-3.1-8b-instruct",
        "context_length": 131072,
        "architecture": {"input_modalities": ["text"]},
        "supported_parameters": ["tools", "max_tokens"],
    }

    (model,) = listed(row)

    assert (model.tools, model.images, model.json_schema) == (True, False, False)


@pytest.mark.parametrize("models", [None, "x", [1], [{"name": 1}], {"a": 1}])
def test_what_it_does_not_understand_beside_the_list_is_left_alone(models: Any) -> None:
    assert listed({"id": "llama"}, models=models) == (ListedModel(name="llama"),)


@pytest.mark.parametrize(
    "more", [{"meta": "x"}, {"max_model_len": "4k"}, {"architecture": []}, {"context_length": 0.5}]
)
def test_what_a_server_adds_in_a_shape_of_its_own_says_nothing(more: dict[str, Any]) -> None:
    row = {"id": "qwen", "max_model_len": 4096}

    assert listed({"id": "llama", **more}, row) == (
        ListedModel(name="llama"),
        ListedModel(name="qwen", context_tokens=4096),
    )


def test_ollama_without_a_model_lists_none() -> None:
    assert listed_models(b'{"object":"list","data":null}') == ()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data":1}', b'{"data":[{}]}', b"\xff", DEEP]
)
def test_anything_else_is_no_list(body: bytes) -> None:
    with pytest.raises(NoListingError, match="does not answer with a list of models"):
        listed_models(body)
