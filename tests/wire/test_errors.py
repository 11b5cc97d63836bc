"""Our exceptions are held to the service models."""

import pytest
from botocore.model import Shape

from outcrop.wire import errors
from tests.wire.model import MODELS, name_of

SHAPES = [shape for model in MODELS.values() for shape in model.error_shapes]


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_a_modelled_error_has_its_status_and_members(shape: Shape) -> None:
    error = getattr(errors, shape.name)

    assert issubclass(error, errors.AwsError)
    assert error.status == shape.metadata["error"]["httpStatusCode"]
    assert set(error.member_names) == set(shape.members) - {"message"}


def test_an_error_is_called_what_amazon_calls_it() -> None:
    assert errors.ResourceNotFoundException("gone").name == "ResourceNotFoundException"


def test_an_error_keeps_its_message_and_members() -> None:
    error = errors.TooManyTagsException("too many", resourceName="profile")

    assert (error.message, str(error)) == ("too many", "too many")
    assert error.members == {"resourceName": "profile"}
