"""The weights of the embedded models, for tests that run them."""

from tests.fleet.conftest import model_cache

__all__ = ["model_cache"]
