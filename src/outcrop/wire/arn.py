"""Amazon Resource Names, parsed once at the border."""

from typing import Self

from msgspec import Struct


class Arn(Struct, frozen=True):
    partition: str
    service: str
    region: str
    account_id: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError when `text` is not an ARN."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn":
            raise ValueError(f"not an ARN: {text!r}")
        return cls(*parts[1:])

    def __str__(self) -> str:
        return (
            f"arn:{self.partition}:{self.service}:{self.region}:{self.account_id}:{self.resource}"
        )

    @property
    def resource_type(self) -> str:
        """`inference-profile` of `inference-profile/us.amazon.nova-lite-v1:0`."""
        return self.resource.partition("/")[0]

    @property
    def resource_id(self) -> str:
        """`us.amazon.nova-lite-v1:0` of `inference-profile/us.amazon.nova-lite-v1:0`."""
        return self.resource.partition("/")[2]


def partition_of(region: str) -> str:
    """The AWS partition a Region belongs to (botocore's partitions.json)."""
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-isob-"):
        return "aws-iso-b"
    if region.startswith("us-iso-"):
        return "aws-iso"
    return "aws"
