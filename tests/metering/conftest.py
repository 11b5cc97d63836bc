"""What is metered is kept on both engines, as the store's own tests have them."""

from tests.store.conftest import clock, location, postgres

__all__ = ["clock", "location", "postgres"]
