import json
from typing import Any

import pytest

from outcrop.runtime.dialects.openai_embeddings import Vectors
from outcrop.runtime.families.embedding import EmbeddingFamily, Wanted
from outcrop.runtime.families.embedding_table import EMBEDDING_FAMILIES, embedding_family_of
from outcrop.runtime.families.family import Invocation
from outcrop.store.catalogue import EMBEDDING_MODEL_ID, Catalogue
from outcrop.wire.errors import ValidationException

V1 = "amazon.titan-embed-text-v1"
V2 = "amazon.titan-embed-text-v2:0"
IMAGE = "amazon.titan-embed-image-v1"
COHERE3 = "cohere.embed-english-v3"
COHERE4 = "cohere.embed-v4:0"
PICTURE = "data:image/png;base64,iVBORw0KGgo="
REPLACED = "please reformat your input and try again."


def family(model_id: str) -> EmbeddingFamily:
    found = embedding_family_of(model_id)
    assert found is not None
    return found


def wanted(model_id: str, body: Any) -> Wanted:
    return family(model_id).wanted(json.dumps(body).encode())


def refusal(model_id: str, body: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        wanted(model_id, body)
    return caught.value.message


def response(model_id: str, body: Any, *vectors: list[float], tokens: int | None = 5) -> bytes:
    invocation = Invocation(
        model_id=model_id,
        foundation_model_id=model_id,
        body=json.dumps(body).encode(),
        invocation_id="0d5ec2a5",
        created=0,
    )
    return family(model_id).response(Vectors(list(vectors), tokens), invocation)


def cohere(**members: Any) -> dict[str, Any]:
    return {"input_type": "search_query", **members}


@pytest.mark.parametrize(
    ("model_id", "body", "expected"),
    [
        (V1, {"inputText": "a"}, Wanted(texts=("a",), dimensions=1536, normalize=False)),
        (
            "amazon.titan-embed-g1-text-02",
            {"inputText": "a"},
            Wanted(texts=("a",), dimensions=1536, normalize=False),
        ),
        (V2, {"inputText": "a"}, Wanted(texts=("a",), dimensions=1024)),
        (
            V2,
            {"inputText": "a", "dimensions": 256, "normalize": False},
            Wanted(texts=("a",), dimensions=256, normalize=False),
        ),
        (EMBEDDING_MODEL_ID, {"inputText": "a"}, Wanted(texts=("a",), dimensions=384)),
        (IMAGE, {"inputText": "a"}, Wanted(texts=("a",), dimensions=1024)),
        (
            IMAGE,
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}},
            Wanted(texts=("a",), dimensions=384),
        ),
        (COHERE3, cohere(texts=["a", "b"]), Wanted(texts=("a", "b"), dimensions=1024)),
        (
            "cohere.embed-multilingual-v3",
            cohere(texts=["a"], truncate="START"),
            Wanted(texts=("a",), dimensions=1024, truncate="start"),
        ),
        (COHERE4, cohere(texts=["a"]), Wanted(texts=("a",), dimensions=1536)),
        (
            COHERE4,
            cohere(texts=["a"], output_dimension=512, truncate="RIGHT", max_tokens=9),
            Wanted(texts=("a",), dimensions=512, truncate="end", max_tokens=9),
        ),
        (
            COHERE4,
            cohere(
                inputs=[
                    {
                        "content": [
                            {"type": "text", "text": "a"},
                            {"type": "text", "text": "b"},
                        ]
                    },
                    {"content": [{"type": "text", "text": "c"}]},
                ]
            ),
            Wanted(texts=("a\nb", "c"), dimensions=1536),
        ),
    ],
)
def test_bodies_say_what_is_wanted(model_id: str, body: Any, expected: Wanted) -> None:
    assert wanted(model_id, body) == expected


@pytest.mark.parametrize(
    ("model_id", "body", "violation"),
    [
        (V1, {}, "#: required key [inputText] not found"),
        (V1, {"inputText": ""}, "expected minLength: 1, actual: 0"),
        (V1, {"inputText": "a" * 50_001}, "expected maxLength: 50000, actual: 50001"),
        (V1, {"inputText": 7}, "#/inputText: expected type: String, found: Integer"),
        (
            V1,
            {"inputText": "a", "dimensions": 256},
            "#: extraneous key [dimensions] is not permitted",
        ),
        (V2, {"inputText": "a", "dimensions": 384}, "#/dimensions: 384 is not a valid enum value"),
        (
            EMBEDDING_MODEL_ID,
            {"inputText": "a", "dimensions": 1024},
            "#/dimensions: 1024 is not a valid enum value",
        ),
        (
            V2,
            {"inputText": "a", "embeddingTypes": ["int8"]},
            "#/embeddingTypes/0: int8 is not a valid enum value",
        ),
        (
            V2,
            {"inputText": "a", "embeddingTypes": []},
            "#/embeddingTypes: expected minimum item count: 1, found: 0",
        ),
        (
            V2,
            {"inputText": "a", "normalize": "yes"},
            "#/normalize: expected type: Boolean, found: String",
        ),
        (IMAGE, {}, "#: required key [inputText] not found"),
        (
            IMAGE,
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}},
            "#/embeddingConfig/outputEmbeddingLength: 512 is not a valid enum value",
        ),
        (COHERE3, cohere(), "#: required key [texts] not found"),
        (COHERE3, {"texts": ["a"]}, "#: required key [input_type] not found"),
        (
            COHERE3,
            {"texts": ["a"], "input_type": "search"},
            "#/input_type: search is not a valid enum value",
        ),
        (
            COHERE3,
            cohere(texts=["a"] * 41 + ["a" * 2613]),
            "#/texts/41: expected maxLength: 2048, actual: 2613",
        ),
        (
            COHERE3,
            cohere(texts=["a"] * 97),
            "#/texts: expected maximum item count: 96, found: 97",
        ),
        (
            COHERE3,
            cohere(texts=["a"], truncate="LEFT"),
            "#/truncate: LEFT is not a valid enum value",
        ),
        (
            COHERE3,
            cohere(texts=["a"], output_dimension=256),
            "#: extraneous key [output_dimension] is not permitted",
        ),
        (
            COHERE4,
            cohere(texts=["a"], output_dimension=384),
            "#/output_dimension: 384 is not a valid enum value",
        ),
        (
            COHERE4,
            cohere(texts=["a"], truncate="END"),
            "#/truncate: END is not a valid enum value",
        ),
        (COHERE4, cohere(), "#: exactly one of [texts], [images] and [inputs] is expected"),
        (
            COHERE4,
            cohere(texts=["a"], inputs=[{"content": [{"type": "text", "text": "a"}]}]),
            "#: exactly one of [texts], [images] and [inputs] is expected",
        ),
        (
            COHERE4,
            cohere(texts=["a"], max_tokens=0),
            "#/max_tokens: 0 is not greater or equal to 1",
        ),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused_in_amazons_words(
    model_id: str, body: Any, violation: str
) -> None:
    assert refusal(model_id, body) == f"Malformed input request: {violation}, {REPLACED}"


def test_a_titan_body_sent_to_cohere_is_refused_member_by_member() -> None:
    message = refusal(COHERE3, {"inputText": "a"})

    assert "#: required key [input_type] not found" in message
    assert "#: extraneous key [inputText] is not permitted" in message


@pytest.mark.parametrize(
    ("model_id", "body"),
    [
        (IMAGE, {"inputText": "a", "inputImage": "aGVsbG8="}),
        (COHERE3, {"input_type": "image", "images": [PICTURE]}),
        (COHERE4, cohere(images=[PICTURE])),
        (
            COHERE4,
            cohere(inputs=[{"content": [{"type": "image_url", "image_url": PICTURE}]}]),
        ),
    ],
)
def test_images_are_refused(model_id: str, body: Any) -> None:
    assert refusal(model_id, body).startswith("The model returned the following errors: ")


@pytest.mark.parametrize(
    ("model_id", "body", "expected"),
    [
        (V1, {"inputText": "a"}, b'{"embedding":[0.25,-0.5],"inputTextTokenCount":5}'),
        (
            V2,
            {"inputText": "a"},
            (
                b'{"embedding":[0.25,-0.5],"embeddingsByType":{"float":[0.25,-0.5]},'
                b'"inputTextTokenCount":5}'
            ),
        ),
        (
            V2,
            {"inputText": "a", "embeddingTypes": ["binary"]},
            b'{"embeddingsByType":{"binary":[1,0]},"inputTextTokenCount":5}',
        ),
        (
            V2,
            {"inputText": "a", "embeddingTypes": ["float", "binary"]},
            (
                b'{"embedding":[0.25,-0.5],"embeddingsByType":{"binary":[1,0],"float":[0.25,-0.5]},'
                b'"inputTextTokenCount":5}'
            ),
        ),
        (
            IMAGE,
            {"inputText": "a"},
            b'{"embedding":[0.25,-0.5],"message":null,"inputTextTokenCount":5}',
        ),
        (
            COHERE3,
            cohere(texts=["a"]),
            (
                b'{"embeddings":[[0.25,-0.5]],"id":"0d5ec2a5","response_type":"embeddings_floats",'
                b'"texts":["a"]}'
            ),
        ),
        (
            COHERE3,
            cohere(texts=["a"], embedding_types=["float"]),
            (
                b'{"embeddings":[[0.25,-0.5]],"id":"0d5ec2a5","response_type":"embeddings_floats",'
                b'"texts":["a"]}'
            ),
        ),
        (
            COHERE4,
            cohere(texts=["a"], embedding_types=["int8"]),
            (
                b'{"embeddings":{"int8":[[100,-128]]},"id":"0d5ec2a5",'
                b'"response_type":"embeddings_by_type","texts":["a"]}'
            ),
        ),
        (
            COHERE4,
            cohere(
                inputs=[{"content": [{"type": "text", "text": "a"}]}],
                embedding_types=["float", "uint8", "binary", "ubinary"],
            ),
            (
                b'{"embeddings":{"float":[[0.25,-0.5]],"uint8":[[228,0]],"binary":[[0]],'
                b'"ubinary":[[128]]},"id":"0d5ec2a5",'
                b'"inputs":[{"content":[{"type":"text","text":"a"}]}],'
                b'"response_type":"embeddings_by_type"}'
            ),
        ),
    ],
)
def test_answers_are_the_familys_own(model_id: str, body: Any, expected: bytes) -> None:
    assert response(model_id, body, [0.25, -0.5]) == expected


def test_a_count_that_nobody_knows_is_left_out() -> None:
    assert response(V1, {"inputText": "a"}, [1.0], tokens=None) == b'{"embedding":[1.0]}'


@pytest.mark.parametrize("model_id", [V1, V2, IMAGE, EMBEDDING_MODEL_ID])
def test_a_text_that_is_too_long_for_titan_is_refused_with_both_counts(model_id: str) -> None:
    assert family(model_id).too_long(512, 9279).message == (
        "400 Bad Request: Too many input tokens. Max input tokens: 512, request input token"
        " count: 9279 "
    )


@pytest.mark.parametrize("model_id", [COHERE3, COHERE4])
def test_a_text_that_is_too_long_for_cohere_may_be_cut_next_time(model_id: str) -> None:
    assert family(model_id).too_long(512, 602).message == (
        "The model returned the following errors: too many tokens: a text has 602, at most 512"
        " are allowed; set truncate to cut it"
    )


def test_every_model_that_embeds_text_has_a_family() -> None:
    regions = ("us-east-1", "eu-west-1", "ap-northeast-1")
    offered = {model for region in regions for model in Catalogue().foundation_models(region)}

    without = {
        model.model_id
        for model in offered
        if model.embeds_text and embedding_family_of(model.model_id) is None
    }

    assert without == set()
    assert all(
        any(model.model_id.startswith(beginning) for model in offered)
        for beginning in EMBEDDING_FAMILIES
    )
    assert embedding_family_of("amazon.nova-lite-v1:0") is None
