"""Our exceptions are held to the service models."""

import pytest
from botocore.model import Shape

from outcrop.wire import errors
from tests.wire.model import MODELS, RPC_MODELS, name_of, rpc_served

SHAPES = [shape for model in MODELS.values() for shape in model.error_shapes]
RPC_SHAPES = [
    shape
    for operation in rpc_served()
    for shape in RPC_MODELS[operation.service.name].operation_model(operation.name).error_shapes
]


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_a_modelled_error_has_its_status_and_members(shape: Shape) -> None:
    error = getattr(errors, shape.name)

    assert issubclass(error, errors.AwsError)
    assert error.status == shape.metadata["error"]["httpStatusCode"]
    assert set(error.member_names) == set(shape.members) - {"message"}


@pytest.mark.parametrize("shape", RPC_SHAPES, ids=name_of)
def test_a_modelled_error_of_the_other_services_has_its_status_and_code(shape: Shape) -> None:
    modelled = shape.metadata.get("error", {})
    error = getattr(errors, shape.name)

    assert issubclass(error, errors.AwsError)
    # Cost Explorer's model leaves the status out; Bedrock has a name of Cost Explorer's, too.
    assert error.status == modelled.get("httpStatusCode", error.status)
    assert (error.query_code or shape.name) == modelled.get("code", shape.name)


def test_an_error_is_called_what_amazon_calls_it() -> None:
    assert errors.ResourceNotFoundException("gone").name == "ResourceNotFoundException"


def test_an_error_keeps_its_message_and_members() -> None:
    error = errors.TooManyTagsException("too many", resourceName="profile")

    assert (error.message, str(error)) == ("too many", "too many")
    assert error.members == {"resourceName": "profile"}
