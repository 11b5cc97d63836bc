"""What is written of an invocation is what would be made of it when it is delivered."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import json, msgpack

from outcrop.metering.delivery.records import delivered
from outcrop.metering.invocation import Logged
from outcrop.metering.invocation_log import Said, Spool
from outcrop.metering.log_records import Owner, SpooledRecord
from outcrop.wire.errors import AwsError, ThrottlingException, ValidationException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from outcrop.wire.timestamps import to_micros
from tests.metering.logged import ACCOUNT, AT, REGION, frames, lines, logging_config
from tests.runtime.requests import invocation

BATCH = "0ca8f0c5d3ef9c5b0ca8f0c5d3ef9c5b"
ASKED, ANSWERED = b'{"messages": [{"text": "100 % \\n"}]}', b'{"output":"%b"}'
CACHED = TokenUsage(
    input_tokens=5,
    output_tokens=7,
    total_tokens=12,
    cache_read_input_tokens=3,
    cache_write_input_tokens=2,
)


def said(
    asked: bytes = ASKED,
    answered: bytes | None = ANSWERED,
    error: AwsError | None = None,
    members: Mapping[str, Any] | None = None,
    switches: Mapping[str, Any] | None = None,
) -> Said:
    made = invocation(REGION)
    made.began_at, made.model_id, made.inference_region = AT, "100%-b:0", REGION
    for name, value in (members or {}).items():
        setattr(made, name, value)
    config = logging_config(**(switches or {}))
    owner = msgpack.encode(Owner(config, ACCOUNT, REGION))
    logged = Logged(config=config, owner=owner, input_body=asked, output_body=answered)
    return Said(made, logged, error)


def record(one: Said) -> SpooledRecord:
    """What it is made of, for a later day."""
    made, logged, error = one
    usage = made.usage or TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)
    texts = logged.config.text_data_delivery_enabled is not False
    vectors = logged.config.embedding_data_delivery_enabled is not False
    answered = b"[" + b",".join(logged.events) + b"]" if logged.events else logged.output_body
    return SpooledRecord(
        config=logged.config,
        at=to_micros(made.began_at),
        account_id=ACCOUNT,
        region=REGION,
        request_id=made.request_id,
        operation=made.operation,
        model_id=made.model_id,
        principal_arn=made.caller.arn,
        request_metadata=made.request_metadata,
        inference_region=made.inference_region,
        error=error.name if error else None,
        input_content_type=made.headers.get("content-type", "application/json"),
        input_body=logged.input_body if texts else None,
        output_body=answered if (vectors if made.embeds else texts) else None,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens or None,
        cache_write_input_tokens=usage.cache_write_input_tokens or None,
    )


@pytest.mark.parametrize(
    "one",
    [
        said(),
        said(members={"usage": CACHED}),
        said(members={"request_metadata": {"ticket": '7%"'}, "inference_region": None}),
        said(members={"headers": {"content-type": "text/%b"}, "model_id": None}),
        said(answered=None, error=ThrottlingException("later")),
        said(b"{nonsense\n", None, ValidationException("no")),
        said(switches={"textDataDeliveryEnabled": False}),
        said(
            answered=None,
            error=ThrottlingException("later"),
            switches={"textDataDeliveryEnabled": False},
        ),
        said(members={"embeds": True}, switches={"embeddingDataDeliveryEnabled": False}),
        said(b'{"inputImage":"aGVsbG8="}'),
        said(b'"' + b"x" * 102_399 + b'"'),
    ],
)
def test_a_line_says_what_a_record_would(one: Said) -> None:
    written = list(delivered(Spool().packed([one]), BATCH))

    assert written == list(delivered(frames([record(one)]), BATCH))
    assert len(written) >= 1


@given(st.binary(max_size=200) | st.text().map(json.encode), st.text())
def test_whatever_was_said(asked: bytes, answered: str) -> None:
    one = said(asked, json.encode({"text": answered}))

    written = list(delivered(Spool().packed([one]), BATCH))

    assert written == list(delivered(frames([record(one)]), BATCH))


def test_a_streams_answer_is_the_list_of_its_events() -> None:
    one = said(answered=None, members={"streamed": True})
    one.logged.events += [b'{"messageStart":{}}', b'{"messageStop":{}}']

    (found,) = delivered(Spool().packed([one]), BATCH)

    answer = lines(found)[0]["output"]["outputBodyJson"]
    assert answer == [{"messageStart": {}}, {"messageStop": {}}]


def test_those_of_one_write_are_delivered_in_their_hour_whatever_has_to_be_taken_out() -> None:
    ids = [f"r-{number}" for number in range(5)]
    later = {"began_at": AT + timedelta(seconds=1)}
    members: list[dict[str, Any]] = [{}, {}, later, later, {}]
    entries = [
        said(
            b'{"inputImage":"aGVsbG8="}' if one == "r-1" else ASKED,
            members={"request_id": one, **more},
        )
        for one, more in zip(ids, members, strict=True)
    ]

    first, second = sorted(delivered(Spool().packed(entries), BATCH), key=lambda one: one.key)

    assert sorted(line["requestId"] for line in lines(first)) == ["r-0", "r-1", "r-4"]
    assert [line["requestId"] for line in lines(second)] == ["r-2", "r-3"]
