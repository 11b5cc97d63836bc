"""What the store may refuse, and what may go wrong with it."""


class StoreError(Exception):
    """The store could not do what was asked; of a change, nothing was kept."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached at the moment; of a change it is unknown whether it was kept."""


class SchemaError(StoreError):
    """The database's schema is none that this version of Outcrop can work with."""


class StoreRefusal(Exception):  # noqa: N818  -- not an error of the store: the answer is no
    """The store is well; the request does not fit what is there."""


class ClientTokenMismatchError(StoreRefusal):
    """The client token was used before, with other parameters."""


class NameTakenError(StoreRefusal):
    """Another resource of the account and Region has this name."""


class QuotaReachedError(StoreRefusal):
    """The account has as many of these in the Region as it may have."""


class NoRoomError(StoreRefusal):
    """The model units that the change would hold are not free; the text says how many are."""


class ResourceGoneError(StoreRefusal):
    """There is no such resource (any more)."""


class TooManyTagsError(StoreRefusal):
    """The resource would have more tags than it may have."""
