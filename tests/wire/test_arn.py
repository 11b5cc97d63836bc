"""ARNs come apart and back together."""

import pytest

from outcrop.wire.arn import Arn, partition_of

ARN = "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-lite-v1:0"


def test_an_arn_comes_apart_and_back_together() -> None:
    arn = Arn.parse(ARN)

    assert (arn.region, arn.account_id) == ("us-east-1", "111122223333")
    assert (arn.resource_type, arn.resource_id) == ("inference-profile", "us.amazon.nova-lite-v1:0")
    assert str(arn) == ARN


@pytest.mark.parametrize("text", ["", "arn", "us.amazon.nova-lite-v1:0", "urn:a:b:c:d:e", ARN[3:]])
def test_what_is_no_arn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an ARN"):
        Arn.parse(text)


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("us-gov-west-1", "aws-us-gov"),
        ("cn-north-1", "aws-cn"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_a_region_belongs_to_a_partition(region: str, partition: str) -> None:
    assert partition_of(region) == partition
