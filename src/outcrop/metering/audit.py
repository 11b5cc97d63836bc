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
from outcrop.metering.forms import BLANK, BLANK_TEXT, Form, Seconds, filled, form
from outcrop.metering.invocation import ModelInvocation
from outcrop.wire.arn import Arn
from outcrop.wire.errors import AwsError
from outcrop.wire.shape import Shape
from outcrop.wire.timestamps import Clock

FOLLOW_EVERY = timedelta(seconds=0.2)
"""So long a line may go to a file that another worker has put aside."""
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""In the place of what the service model calls sensitive."""

_MODELS = "bedrock"
"""What requests for a model are signed for."""
_READS = ("Get", "List", "Describe")
_TYPES = {"root": "Root", "user": "IAMUser", "assumed-role": "AssumedRole"}

_encode = json.Encoder().encode
_log = logging.getLogger(__name__)


class Audited(Struct, frozen=True, kw_only=True, gc=False):
    """What the edge knows of one call."""

    request_id: str
    began_at: datetime
    signing_name: str
    """Of the service: `bedrock`, also for the runtime."""
    operation: str
    caller: Caller
    access_key_id: str | None
    user_agent: str | None
    source_address: str
    model_id: str | None
    """All that is told of what a model was asked."""
    input: Shape | None
    """Of the control plane."""
    output: Shape | None
    error: AwsError | None
    inference_region: str | None
    changes: bool
    """Whether it is a call of the control plane, by whose answer something may have changed."""


def _audited(invocation: ModelInvocation, error: AwsError | None) -> Audited:
    """Of a call of a model, as it ended."""
    return Audited(
        request_id=invocation.request_id,
        began_at=invocation.began_at,
        signing_name=_MODELS,
        operation=invocation.operation,
        caller=invocation.caller,
        access_key_id=invocation.access_key_id,
        user_agent=invocation.headers.get("user-agent"),
        source_address=invocation.source_address,
        model_id=invocation.model_id,
        input=None,
        output=None,
        error=error,
        inference_region=invocation.inference_region,
        changes=False,
    )


class Ended(Struct, frozen=True, gc=False):
    """A call of a model."""

    invocation: ModelInvocation
    error: AwsError | None


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

    def add(self, call: Audited) -> None:
        """The line is the kernel's when this returns: `kill -9` does not lose it, a power cut may.

        What cannot be written is lost, and said to be: no call waits for the trail.
        """
        self._write(self._lines(call))

    def add_invocations(self, calls: Sequence[Ended]) -> None:
        """As `add`, in one write; those that it has already are left out."""
        lines: list[str] = []
        for call in calls:
            invocation = call.invocation
            if not invocation.audited:
                invocation.audited = True
                lines.append(self._model_line(invocation, call.error))
        if lines:
            self._write("".join(lines).encode())

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, lines: bytes) -> None:
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

    def _model_line(self, invocation: ModelInvocation, error: AwsError | None) -> str:
        caller, region = invocation.caller, invocation.inference_region
        if error is not None or caller.shared_arn is not None:
            return self._lines(_audited(invocation, error)).decode()
        before, at_id, at_event, after = _model_form(
            caller,
            invocation.access_key_id,
            invocation.headers.get("user-agent"),
            invocation.source_address,
            invocation.operation,
            invocation.model_id,
            None if region == caller.region else region,
        )
        self._last_id += 1
        at, event_id = self._seconds.text(invocation.began_at), f"{self._ids}{self._last_id}"
        return f"{before}{at}{at_id}{invocation.request_id}{at_event}{event_id}{after}"

    def _lines(self, call: Audited) -> bytes:
        """What the caller's account is told, and the account whose resource it was shared by."""
        at = self._seconds.text(call.began_at).encode()
        told, arn = _told(call, at), call.caller.shared_arn
        if arn is None:
            return filled(_form(call, call.caller.account_id), (*told, self._event_id()))
        shared_event_id = str(uuid4()).encode()
        return b"".join(
            filled(_form(call, recipient), (*told, self._event_id(), shared_event_id))
            for recipient in (call.caller.account_id, Arn.parse(arn).account_id)
        )

    def _event_id(self) -> bytes:
        """Of another line: a UUID that is random for each trail, and counted within it."""
        self._last_id += 1
        return f"{self._ids}{self._last_id}".encode()

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


def _told(call: Audited, event_time: bytes) -> tuple[bytes, ...]:
    """What is different in each call, but for the event's id: in the order of the record."""
    error, request_id = call.error, call.request_id.encode()
    if error is None and not call.changes:
        return event_time, request_id
    told = [event_time]
    if error is not None:
        told.append(_encode(error.message))
    if call.changes:
        told.append(_encode(_shown(call.input)))
        if not _is_read_only(call):
            told.append(_encode(_shown(call.output)))
    return (*told, request_id)


def _form(call: Audited, recipient_account_id: str) -> Form:
    caller, error, region = call.caller, call.error, call.inference_region
    return _form_of(
        caller,
        call.access_key_id,
        call.user_agent,
        call.source_address,
        call.signing_name,
        call.operation,
        call.model_id,
        None if region == caller.region else region,
        None if error is None else error.name,
        call.changes,
        recipient_account_id,
    )


@lru_cache(maxsize=4_096)
def _model_form(  # noqa: PLR0913, PLR0917 - as below
    caller: Caller,
    access_key_id: str | None,
    user_agent: str | None,
    source_address: str,
    operation: str,
    model_id: str | None,
    elsewhere: str | None,
) -> Sequence[str]:
    """Of an answer; by fewer names, as it is looked for with every answer."""
    form = _form_of(
        caller,
        access_key_id,
        user_agent,
        source_address,
        _MODELS,
        operation,
        model_id,
        elsewhere,
        None,
        False,
        caller.account_id,
    )
    return tuple(part.decode() for part in form)


@lru_cache(maxsize=4_096)
def _form_of(  # noqa: PLR0913, PLR0917 - what many lines have in common
    caller: Caller,
    access_key_id: str | None,
    user_agent: str | None,
    source_address: str,
    signing_name: str,
    operation: str,
    model_id: str | None,
    elsewhere: str | None,
    error: str | None,
    changes: bool,  # noqa: FBT001
    recipient_account_id: str,
) -> Form:
    arn, read_only = caller.shared_arn, _only_reads(operation, changes=changes)
    model = None if model_id is None else {"modelId": model_id}
    record = AuditRecord(
        event_version="1.11",
        user_identity=_identity(caller, access_key_id),
        event_time=BLANK_TEXT,
        event_source=f"{signing_name}.amazonaws.com",
        event_name=operation,
        aws_region=caller.region,
        source_ip_address=source_address or None,
        user_agent=user_agent,
        error_code=_code(error) if error else None,
        error_message=BLANK if error else None,
        request_parameters=BLANK if changes else model,
        response_elements=None if read_only else BLANK,
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


def _is_read_only(call: Audited) -> bool:
    return _only_reads(call.operation, changes=call.changes)


def _only_reads(operation: str, *, changes: bool) -> bool:
    return not changes or operation.startswith(_READS)


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
