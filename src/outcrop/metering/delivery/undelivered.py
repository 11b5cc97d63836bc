"""What may go wrong with a delivery, or with what says how to deliver."""


class UndeliveredError(Exception):
    """It did not arrive, as far as we know; it may be tried again."""


class InvalidLoggingConfigError(Exception):
    """The configuration of invocation logging cannot be used."""
