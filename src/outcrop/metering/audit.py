"""The audit trail: who called what, in CloudTrail's record shape, a JSON line for every call.

AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon Bedrock User Guide, "Monitor Amazon
Bedrock API calls using AWS CloudTrail".
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_type_hints
from uuid import uuid4

from msgspec import Meta, Struct, field, json, structs

from outcrop.iam.caller import Caller
from outcrop.metering.config import AuditConfig
from outcrop.metering.forms import BLANK, BLANK_TEXT, Seconds, form
from outcrop.wire.arn import Arn
from outcrop.wire.errors import AwsError
from outcrop.wire.shape import Shape
from outcrop.wire.timestamps import Clock

FOLLOW_EVERY = timedelta(seconds=0.2)
"""So long a line may go to a file that another worker has put aside."""
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""In the place of what the service model calls sensitive."""

_CREDENTIAL = "Credential="
_READS = ("Get", "List", "Describe")
_TYPES = {"root": "Root", "user": "IAMUser", "assumed-role": "AssumedRole"}

_encode = json.Encoder().encode
_log = logging.getLogger(__name__)


class Audited(Struct, frozen=True, kw_only=True, gc=False):
    """What the edge knows of one call."""

    event_id: str
    request_id: str
    began_at: datetime
    signing_name: str
    """Of the service: `bedrock`, also for the runtime."""
    operation: str
    caller: Caller
    headers: Mapping[str, str]
    """The request's, in lower case."""
    source_address: str
    request_parameters: Shape | dict[str, str] | None
    output: Shape | None
    error: AwsError | None
    inference_region: str | None
    changes: bool
    """Whether it is a call of the control plane, by whose answer something may have changed."""


class UserIdentity(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    type: str
    principal_id: str
    arn: str
    account_id: str
    access_key_id: str | None = None
    user_name: str | None = None


class AuditedResource(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Of another account than the caller's."""

    account_id: str
    arn: str = field(name="ARN")


class AuditRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    event_version: str
    user_identity: UserIdentity
    event_time: str
    event_source: str
    event_name: str
    aws_region: str
    source_ip_address: str | None = field(name="sourceIPAddress", default=None)
    user_agent: str | None
    error_code: str | None = None
    error_message: str | None = None
    request_parameters: Shape | Mapping[str, str] | None
    response_elements: Shape | None
    additional_event_data: Mapping[str, str] | None = None
    request_id: str = field(name="requestID")
    event_id: str = field(name="eventID")
    read_only: bool
    event_type: Literal["AwsApiCall"]
    management_event: Literal[True]
    recipient_account_id: str
    resources: tuple[AuditedResource, ...] | None = None
    shared_event_id: str | None = field(name="sharedEventID", default=None)
    event_category: Literal["Management"]


class AuditTrail:
    """Opened inside the event loop that adds to it; every worker writes whole lines to one file."""

    def __init__(self, path: Path, config: AuditConfig, *, clock: Clock) -> None:
        """Raises OSError where the file cannot be written."""
        self._path = path
        self._config = config
        self._clock = clock
        self._seconds = Seconds()
        self._ids, self._last_id = str(uuid4())[:24], 10**11
        self._fd = _opened(path)
        self._follow_at = clock()
        self._failing = False

    def event_id(self) -> str:
        """For another call: a UUID that is random for each trail, and counted within it."""
        self._last_id += 1
        return f"{self._ids}{self._last_id}"

    def add(self, audited: Audited) -> None:
        """The line is the kernel's when this returns: `kill -9` does not lose it, a power cut may.

        What cannot be written is lost, and said to be: no call waits for the trail.
        """
        lines = _lines(audited, self._seconds.text(audited.began_at))
        try:
            if (now := self._clock()) >= self._follow_at:
                self._follow()
                self._follow_at = now + FOLLOW_EVERY
            os.write(self._fd, lines)
        except OSError as error:
            if not self._failing:
                _log.error("the audit trail cannot be written: %s", error)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        os.close(self._fd)

    def _follow(self) -> None:
        """To the file that has the name by now; a full one is put aside by one worker."""
        if not _is_same(self._fd, self._path):
            self._reopen()
        if os.fstat(self._fd).st_size < self._config.max_bytes:
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if _is_same(self._fd, self._path):
                aside = f"{self._path.name}.{self._clock():%Y%m%dT%H%M%S%fZ}"
                self._path.rename(self._path.with_name(aside))
                self._take_away_old()
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._reopen()

    def _reopen(self) -> None:
        fd = _opened(self._path)
        os.close(self._fd)
        self._fd = fd

    def _take_away_old(self) -> None:
        aside = sorted(self._path.parent.glob(f"{self._path.name}.*Z"))
        for path in aside[: -self._config.keep_files]:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_same(fd: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.stat())
    return False


def _lines(audited: Audited, event_time: bytes) -> bytes:
    """What the caller's account is told, and the account whose resource it was shared by."""
    told, event_id, arn = _told(audited, event_time), audited.event_id, audited.caller.shared_arn
    if arn is None:
        return _form(audited, audited.caller.account_id) % (*told, event_id.encode())
    owner, shared_event_id = Arn.parse(arn).account_id, str(uuid4()).encode()
    return b"".join(
        _form(audited, recipient) % (*told, one.encode(), shared_event_id)
        for recipient, one in ((audited.caller.account_id, event_id), (owner, str(uuid4())))
    )


def _told(audited: Audited, event_time: bytes) -> tuple[bytes, ...]:
    """What is different in each call, but for the event's id: in the order of the record."""
    address, error, asked = audited.source_address, audited.error, audited.request_parameters
    return (
        event_time,
        *((_encode(address),) if address else ()),
        _encode(audited.headers.get("user-agent")),
        *((_encode(error.message),) if error else ()),
        _encode(asked if isinstance(asked, dict) else _shown(asked)),
        b"null" if _is_read_only(audited) else _encode(_shown(audited.output)),
        audited.request_id.encode(),
    )


def _form(audited: Audited, recipient_account_id: str) -> bytes:
    caller, error, region = audited.caller, audited.error, audited.inference_region
    return _form_of(
        caller,
        _access_key_id(audited.headers.get("authorization", "")),
        audited.signing_name,
        audited.operation,
        None if region == caller.region else region,
        bool(audited.source_address),
        None if error is None else error.name,
        _is_read_only(audited),
        recipient_account_id,
    )


@lru_cache(maxsize=4_096)
def _form_of(  # noqa: PLR0913, PLR0917 - what many lines have in common
    caller: Caller,
    access_key_id: str | None,
    signing_name: str,
    operation: str,
    elsewhere: str | None,
    has_address: bool,  # noqa: FBT001
    error: str | None,
    read_only: bool,  # noqa: FBT001
    recipient_account_id: str,
) -> bytes:
    arn = caller.shared_arn
    record = AuditRecord(
        event_version="1.11",
        user_identity=_identity(caller, access_key_id),
        event_time=BLANK_TEXT,
        event_source=f"{signing_name}.amazonaws.com",
        event_name=operation,
        aws_region=caller.region,
        source_ip_address=BLANK if has_address else None,
        user_agent=BLANK,
        error_code=_code(error) if error else None,
        error_message=BLANK if error else None,
        request_parameters=BLANK,
        response_elements=BLANK,
        additional_event_data={"inferenceRegion": elsewhere} if elsewhere else None,
        request_id=BLANK_TEXT,
        event_id=BLANK_TEXT,
        read_only=read_only,
        event_type="AwsApiCall",
        management_event=True,
        recipient_account_id=recipient_account_id,
        resources=(AuditedResource(account_id=Arn.parse(arn).account_id, arn=arn),)
        if arn
        else None,
        shared_event_id=BLANK_TEXT if arn else None,
        event_category="Management",
    )
    return form(record)


def _is_read_only(audited: Audited) -> bool:
    return not audited.changes or audited.operation.startswith(_READS)


def _code(error: str) -> str:
    """CloudTrail has the short name of a denial, and the exception's of all others."""
    return "AccessDenied" if error == "AccessDeniedException" else error


def _identity(caller: Caller, access_key_id: str | None) -> UserIdentity:
    kind, _, rest = caller.arn.split(":", 5)[5].partition("/")
    return UserIdentity(
        type=_TYPES.get(kind, "Unknown"),
        principal_id=caller.user_id,
        arn=caller.arn,
        account_id=caller.account_id,
        access_key_id=access_key_id,
        user_name=rest.rpartition("/")[2] if kind == "user" else None,
    )


def _access_key_id(authorization: str) -> str | None:
    """Of a signature; a bearer key has no part that may be told."""
    return authorization.partition(_CREDENTIAL)[2].partition("/")[0] or None


def _shown(value: Shape | None) -> Shape | None:
    """With what is sensitive hidden."""
    if value is None:
        return None
    hidden = {name: HIDDEN for name in _sensitive(type(value)) if getattr(value, name) is not None}
    return structs.replace(value, **hidden) if hidden else value


@lru_cache(maxsize=1_024)
def _sensitive(kind: type[Shape]) -> Sequence[str]:
    """The members that the service model calls so."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(name for name, hint in hints.items() if _is_sensitive(hint))


def _is_sensitive(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    if any(isinstance(mark, Meta) and (mark.extra or {}).get("sensitive") for mark in marks):
        return True
    return any(_is_sensitive(part) for part in getattr(hint, "__args__", ()))
