"""Botocore's model of the served operations, and sample values for it: the tests' oracle."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from outcrop.wire.operation import Operation, StreamOperation
from outcrop.wire.rpc import RpcOperation
from outcrop.wire.shapes import bedrock, bedrock_runtime, ce, cloudwatch, sts

MODULES: Mapping[str, ModuleType] = {"bedrock": bedrock, "bedrock-runtime": bedrock_runtime}
MODELS: Mapping[str, ServiceModel] = {
    service: ServiceModel(Loader().load_service_model(service, "service-2"), service)
    for service in MODULES
}
RPC_MODULES: Mapping[str, ModuleType] = {"cloudwatch": cloudwatch, "ce": ce, "sts": sts}
RPC_MODELS: Mapping[str, ServiceModel] = {
    service: ServiceModel(Loader().load_service_model(service, "service-2"), service)
    for service in RPC_MODULES
}
MENDED = {
    ("ResourcePolicyDocument", "pattern"): r"[\u0009\u000A\u000D\u0020-\u00FF]+",
}
"""What tools/model-patches.json puts right."""
MOST_ARMS = 14
"""Of any union: ContentBlock's."""

_STRINGS = (
    "123456",
    "AKIAIOSFODNN7EXAMPLE",
    "arn:aws:iam::111122223333:role/sample",
    "a",
    "1",
    "amazon.nova-lite-v1:0",
    "111122223333",
    "2025-01-01",
    "arn:aws:billing::111122223333:billingview/primary",
    "s3://bucket/key",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-lite-v1:0",
    "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl",
    "abcdefghijkl",
    "arn:aws:bedrock:us-east-1:111122223333:automated-reasoning-policy/abcdefghijkl",
    "arn:aws:bedrock:us-east-1:111122223333:guardrail/abcdefghijkl",
    "arn:aws:iam::111122223333:role/logs",
)

AnyOperation = Operation[Any, Any] | StreamOperation[Any, Any]


def served() -> list[AnyOperation]:
    values = [value for module in MODULES.values() for value in vars(module).values()]
    return [value for value in values if isinstance(value, Operation | StreamOperation)]


def rpc_served() -> list[RpcOperation[Any, Any]]:
    values = [value for module in RPC_MODULES.values() for value in vars(module).values()]
    return [value for value in values if isinstance(value, RpcOperation)]


def name_of(value: Any) -> str:
    return str(getattr(value, "name", value))


def modelled(operation: AnyOperation) -> OperationModel:
    return MODELS[operation.service].operation_model(operation.name)


def constraint(shape: Shape, name: str) -> Any:
    """What `shape.metadata` holds, and what it leaves out: patterns."""
    return MENDED.get((shape.name, name), shape._shape_model.get(name))


def matches(shape: Shape, text: str) -> bool:
    pattern = constraint(shape, "pattern")
    if pattern is None or r"\p" in pattern:  # Unicode classes: model-patches.json drops them
        return True
    return re.fullmatch(f"(?a:{pattern})(?!\n)", text) is not None


def text_of(shape: Shape) -> str:
    if shape.metadata.get("enum"):
        return str(shape.metadata["enum"][0])
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 10_000)
    return next(t for t in _STRINGS if low <= len(t) <= high and matches(shape, t))


def smallest(shape: Shape) -> Any:
    """Only what must be there."""
    return _sample(shape, arm=0, optional=False)


def fullest(shape: Shape, arm: int = 0) -> Any:
    """Everything that may be there; of unions, the arm of that number."""
    return _sample(shape, arm=arm, optional=True)


def _sample(shape: Shape, *, arm: int, optional: bool, within: tuple[str, ...] = ()) -> Any:
    within = (*within, shape.name) if shape.type_name == "structure" else within
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return {"deep": [{"er": None}, 1.5, "x"]}
        case "structure" if shape.is_tagged_union:
            members = [*shape.members]
            chosen = members[arm % len(members)]
            return {
                chosen: _sample(shape.members[chosen], arm=arm, optional=optional, within=within)
            }
        case "structure":
            names = shape.members if optional else shape.required_members
            if within.count(shape.name) > 2:  # a structure within itself, within itself
                names = []
            return {
                n: _sample(shape.members[n], arm=arm, optional=optional, within=within)
                for n in names
            }
        case "list":
            count = max(shape.metadata.get("min", 0), 2 if optional else 0)
            return [_sample(shape.member, arm=arm, optional=optional, within=within)] * count
        case "map":
            value = _sample(shape.value, arm=arm, optional=optional, within=within)
            return {text_of(shape.key): value} if optional or shape.metadata.get("min") else {}
        case _:
            return _scalar(shape)


def _scalar(shape: Shape) -> Any:
    if shape.type_name == "string":
        return text_of(shape)
    return {
        "integer": int(shape.metadata.get("min", 7)),
        "long": 1 << 40,
        "float": 0.5,
        "double": 0.25,
        "boolean": False,
        "blob": b"\x00\xff",
        "timestamp": datetime(2024, 11, 29, 13, 23, 0, 678000, tzinfo=UTC),
    }[shape.type_name]
