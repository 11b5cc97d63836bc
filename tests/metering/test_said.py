"""What is written of an invocation is delivered as what it was, one by one or many at once."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import Raw, json

from outcrop.metering.delivery.records import Delivered, delivered
from outcrop.metering.entries import Entries
from outcrop.metering.invocation import SUCCESS, End, Logged, ModelInvocation, Wanted
from outcrop.metering.log_records import (
    Body,
    Owner,
    Told,
    encode_owner,
    log_record,
    one_line,
)
from outcrop.metering.prices import PriceList
from outcrop.store.usage_records import batches_in, records_in
from outcrop.wire.errors import AwsError, ThrottlingException, ValidationException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from outcrop.wire.timestamps import to_micros
from tests.clocks import FakeClock
from tests.metering.logged import ACCOUNT, AT, REGION, lines, logging_config
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
) -> ModelInvocation:
    made = invocation(REGION)
    made.began_at, made.model_id, made.inference_region = AT, "100%-b:0", REGION
    for name, value in (members or {}).items():
        setattr(made, name, value)
    config = logging_config(**(switches or {}))
    wanted = Wanted(
        owner=encode_owner(Owner(config, ACCOUNT, REGION)),
        texts=config.text_data_delivery_enabled is not False,
        embeddings=config.embedding_data_delivery_enabled is not False,
    )
    made.logged = Logged(wanted=wanted, input_body=asked, output_body=answered)
    made.error = error
    made.end = SUCCESS if error is None else End("client_error", error.status, error.name)
    return made


def written(entries: Sequence[ModelInvocation], *, meters: bool = True) -> bytes:
    later = FakeClock(AT + timedelta(seconds=30))
    return Entries(PriceList(), clock=later, meters=meters).packed(entries)


def made_of(entries: Sequence[ModelInvocation], *, meters: bool = True) -> list[Delivered]:
    return list(delivered(written(entries, meters=meters), BATCH))


def record(one: ModelInvocation) -> Any:
    """A line, told member by member."""
    made, logged, error = one, one.logged, one.error
    assert logged
    usage = made.usage or TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)
    wanted = logged.wanted
    told = Told(
        config=logging_config(),
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
        input_body=logged.input_body if wanted.texts else None,
        output_body=logged.output_body
        if (wanted.embeddings if made.embeds else wanted.texts)
        else None,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens or None,
        cache_write_input_tokens=usage.cache_write_input_tokens or None,
    )
    asked, answered = (
        Body(None if body is None else Raw(one_line(body)))
        for body in (told.input_body, told.output_body)
    )
    line = json.encode(log_record(told, f"{made.began_at:%Y-%m-%dT%H:%M:%SZ}", asked, answered))
    return json.decode(line)


@pytest.mark.parametrize("meters", [True, False])
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
        said(b'{\r\n"messages":\n[]}'),
        said('{"text":"\u00e4\u2028"}'.encode()),
    ],
)
def test_a_line_says_what_was_said(one: ModelInvocation, *, meters: bool) -> None:
    (alone,) = made_of([one], meters=meters)
    (among_others,) = made_of([said(), one, said()], meters=meters)

    assert lines(alone) == [record(one)]
    assert alone.body.count(b"\r") == 0 or alone.content_encoding
    assert sorted(map(str, lines(among_others))) == sorted(
        map(str, [record(said()), record(one), record(said())])
    )


@given(st.lists(st.binary(max_size=200) | st.text().map(json.encode), min_size=1), st.text())
def test_whatever_was_said(asked: list[bytes], answered: str) -> None:
    """And refused: what was answered with success was JSON."""
    error = ValidationException("no")
    entries = [said(one, json.encode({"text": answered}), error) for one in asked]

    (found,) = made_of(entries)

    assert lines(found) == [record(one) for one in entries]


def test_without_metering_only_what_was_said_is_written() -> None:
    assert len(list(records_in(written([said(), said()])))) == 2
    assert list(records_in(written([said(), said()], meters=False))) == []
    assert len(lines(made_of([said(), said()], meters=False)[0])) == 2


def test_calls_that_take_turns_share_a_frame_with_their_like() -> None:
    """What they have in common, and the log they go to, is compared with the call before."""
    entries = [
        said(members={"request_id": f"{kind}-{number}", "model_id": kind}, switches=switches)
        for number in range(3)
        for kind, switches in (("a", None), ("b", None), ("a", {"textDataDeliveryEnabled": False}))
    ]

    frames = written(entries)

    assert [list(calls.request_id) for calls in batches_in(frames)] == [
        ["a-0", "a-1", "a-2"],
        ["b-0", "b-1", "b-2"],
        ["a-0", "a-1", "a-2"],
    ]
    assert [record.model_id for record in records_in(frames)] == [*"aaabbbaaa"]
    delivered_lines = [line for one in delivered(frames, BATCH) for line in lines(one)]
    assert sum("inputBodyJson" in line["input"] for line in delivered_lines) == 6


def test_a_streams_answer_is_the_list_of_its_events() -> None:
    one = said(answered=None, members={"streamed": True})
    assert one.logged
    one.logged.events += [b'{"messageStart":{}}', b'{"messageStop":{}}']

    (found,) = made_of([one])

    answer = lines(found)[0]["output"]["outputBodyJson"]
    assert answer == [{"messageStart": {}}, {"messageStop": {}}]


def test_those_of_one_write_are_delivered_in_their_hour_whatever_has_to_be_taken_out() -> None:
    ids = [f"r-{number}" for number in range(5)]
    later = {"began_at": AT + timedelta(seconds=1)}
    members: list[dict[str, Any]] = [{}, {}, later, later, {}]
    entries = [
        said(
            b'{"image":{"source":{"bytes":"aGVsbG8="}}}' if one == "r-1" else ASKED,
            members={"request_id": one, **more},
        )
        for one, more in zip(ids, members, strict=True)
    ]

    image, first, second = sorted(made_of(entries), key=lambda one: (not one.large, one.key))

    assert (image.body, image.key.rpartition("/")[2]) == (b"hello", "r-1_input_1.bin")
    assert sorted(line["requestId"] for line in lines(first)) == ["r-0", "r-1", "r-4"]
    assert [line["requestId"] for line in lines(second)] == ["r-2", "r-3"]
