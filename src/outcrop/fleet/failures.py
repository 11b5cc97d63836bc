"""How a model server can fail, in the program's own words."""

from enum import StrEnum


class FailureKind(StrEnum):
    REFUSED = "refused"
    """No connection, so nothing was asked."""
    NOT_READY = "not ready"
    """Known to be starting: ask again soon."""
    BUSY = "busy"
    """All the calls it is given at once are in progress, and none ended in time."""
    TIMED_OUT = "timed out"
    BROKE_OFF = "broke off"
    STATUS = "status"
    """It answered, with something other than success."""
    UNABLE = "unable"
    """It is sound, and cannot do what is asked."""


class ServerFailureError(Exception):
    """A model server did not do what it was asked to."""

    def __init__(
        self,
        server: str,
        kind: FailureKind,
        detail: str = "",
        *,
        status: int | None = None,
        body: bytes = b"",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{server}: {kind}{f' {status}' if status else ''} {detail}".rstrip())
        self.server = server
        self.kind = kind
        self.detail = detail
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        """How long the server wants to be left alone."""

    @property
    def another_may_answer(self) -> bool:
        """Whether the fault is the server's: the request itself would be refused anywhere."""
        return self.status not in {400, 413, 422}
