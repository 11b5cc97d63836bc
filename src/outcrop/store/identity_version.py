"""A number that is another one after every change of who may do what."""

from outcrop.store.database import Transaction

VERSION = "SELECT version FROM identity_version"
_CHANGED = "UPDATE identity_version SET version = version + 1"


async def changed(transaction: Transaction) -> None:
    """To be called in every transaction that changes who may do what."""
    await transaction.execute(_CHANGED)
