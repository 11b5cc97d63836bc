"""What is made of what was said: Amazon's schema, its keys, and bodies by themselves."""

import gzip
import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.metering.delivery.records import Place, delivered
from outcrop.metering.log_records import INLINE_BYTES, Told
from tests.metering.logged import ACCOUNT, FOLDER, REGION, frames, lines, logging_config, told

BATCH = "0ca8f0c5d3ef9c5b0ca8f0c5d3ef9c5b"
FILE = f"{FOLDER}/20261122T050000000Z_0ca8f0c5d3ef9c5b.json.gz"
PNG = b"\x89PNG\r\n"


def made(*records: Told) -> dict[str, Any]:
    return {one.key: one for one in delivered(frames(records), BATCH)}


def record(one: Told) -> Any:
    """The line of a record that stands alone."""
    return lines(made(one)[FILE])[0]


def test_a_record_has_amazons_schema() -> None:
    assert record(told(request_metadata={"ticket": "7"}, cache_read_input_tokens=3)) == {
        "timestamp": "2026-11-22T05:59:59Z",
        "accountId": ACCOUNT,
        "region": REGION,
        "requestId": "r-1",
        "operation": "Converse",
        "modelId": "amazon.nova-lite-v1:0",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": {"messages": []},
            "inputTokenCount": 11,
            "cacheReadInputTokenCount": 3,
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": {"output": {}},
            "outputTokenCount": 7,
        },
        "identity": {"arn": f"arn:aws:iam::{ACCOUNT}:user/ann"},
        "requestMetadata": {"ticket": "7"},
        "inferenceRegion": REGION,
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
    }


def test_records_of_one_hour_share_a_file_and_another_hour_has_its_own() -> None:
    found = made(told(), told(request_id="r-2"), told(at=told().at + 1_000_000))

    assert [len(lines(one)) for one in found.values()] == [2, 1]
    assert list(found) == [FILE, FILE.replace("/05/", "/06/").replace("T05", "T06")]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_the_same_journal_makes_the_same_bytes_whatever_was_said(bodies: list[bytes]) -> None:
    records = [told(input_body=body, error="ValidationException") for body in bodies]

    found = made(*records)

    assert found == made(*records)
    # A line for each: nothing that was said ends a line.
    assert len(lines(found[FILE])) == len(bodies)


def test_a_body_that_was_refused_because_it_is_no_json_is_a_string() -> None:
    found = record(told(input_body=b"{nonsense", output_body=None, error="ValidationException"))

    assert found["input"]["inputBodyJson"] == "{nonsense"
    assert (found["errorCode"], found["output"]) == ("ValidationException", {})


def test_without_text_only_counts_are_told() -> None:
    found = record(told(input_body=None, output_body=None))

    assert found["input"] == {"inputContentType": "application/json", "inputTokenCount": 11}
    assert found["output"] == {"outputContentType": "application/json", "outputTokenCount": 7}


def test_a_long_body_is_an_object_of_its_own() -> None:
    text = "x" * INLINE_BYTES
    found = made(told(output_body=json.dumps({"text": text}).encode()))

    output = lines(found[FILE])[0]["output"]
    assert "outputBodyJson" not in output
    assert output["outputBodyS3Path"] == f"s3://logs/{FOLDER}/data/r-1_output.json.gz"
    whole = gzip.decompress(found[f"{FOLDER}/data/r-1_output.json.gz"].body)
    assert json.loads(whole) == {"text": text}


def image(source: Any) -> bytes:
    content = [{"text": "what is it?"}, {"image": {"format": "png", "source": source}}]
    return json.dumps({"messages": [{"role": "user", "content": content}]}).encode()


def logged_source(one: Told) -> Any:
    message = record(one)["input"]["inputBodyJson"]["messages"][0]
    return message["content"][1]["image"]["source"]


def test_an_image_is_an_object_that_the_record_points_to() -> None:
    one = told(input_body=image({"bytes": b64encode(PNG).decode()}))

    uri = f"s3://logs/{FOLDER}/data/r-1_input_1.png"
    assert logged_source(one) == {"s3Location": {"uri": uri}}
    assert made(one)[f"{FOLDER}/data/r-1_input_1.png"].body == PNG


@pytest.mark.parametrize(
    "body",
    [
        image({"bytes": b64encode(PNG).decode()}),
        json.dumps({"inputImage": b64encode(PNG).decode()}).encode(),
        json.dumps({"images": [f"data:image/png;base64,{b64encode(PNG).decode()}"]}).encode(),
        json.dumps({"images": [b64encode(PNG).decode()]}).encode(),
        json.dumps(
            {"image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}"}}
        ).encode(),
        json.dumps({"source": {"type": "base64", "data": b64encode(PNG).decode()}}).encode(),
    ],
)
def test_what_is_switched_off_appears_nowhere(body: bytes) -> None:
    config = logging_config(imageDataDeliveryEnabled=False)
    found = made(told(config, input_body=body))

    assert list(found) == [FILE]
    assert b64encode(PNG) not in gzip.decompress(found[FILE].body)


def test_a_log_group_has_the_record_and_a_bucket_its_long_bodies() -> None:
    groups = {
        "logGroupName": "/bedrock",
        "roleArn": "arn:aws:iam::111122223333:role/x",
        "largeDataDeliveryS3Config": {"bucketName": "large"},
    }
    config = logging_config(s3Config=None, cloudWatchConfig=groups)
    long = json.dumps("x" * INLINE_BYTES).encode()
    line, body = sorted(
        delivered(frames([told(config, output_body=long)]), BATCH), key=lambda one: one.key
    )

    assert line.place == Place("log_group", "/bedrock")
    stream = f"{ACCOUNT}/{REGION}/bedrock/aws/bedrock/modelinvocations"
    assert line.key == f"{stream}/20261122T050000000Z_0ca8f0c5d3ef9c5b.jsonl"
    assert body.place == Place("bucket", "large")
    assert lines(line)[0]["output"]["outputBodyS3Path"] == f"s3://large/{body.key}"
