"""The audit trail: who called what, in CloudTrail's record shape, a JSON line for every call.

AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon Bedrock User Guide, "Monitor Amazon
Bedrock API calls using AWS CloudTrail"; what a line says is in `audit_record`.
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from msgspec import Struct, json

from outcrop.iam.caller import Caller
from outcrop.metering.audit_record import (
    AuditedResource,
    AuditRecord,
    identity_elsewhere,
    identity_of,
    shown,
)
from outcrop.metering.config import AuditConfig
from outcrop.metering.forms import BLANK, BLANK_TEXT, EPOCH, Form, Seconds, filled, form
from outcrop.metering.invocation import ModelInvocation
from outcrop.wire.arn import Arn
from outcrop.wire.errors import AwsError
from outcrop.wire.shape import Shape
from outcrop.wire.timestamps import Clock

FOLLOW_EVERY = timedelta(seconds=0.2)
"""So long a line may go to a file that another worker has put aside."""

_MODELS = "bedrock"
"""What requests for a model are signed for."""
_READS = ("Get", "List", "Describe")
_GIVE_CREDENTIALS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken"})
"""Read-only in CloudTrail's eyes; yet the answer is told, for the new key's id is in it."""
_DATA_EVENTS = frozenset({"GetMetricData", "GetMetricStatistics", "ListMetrics"})

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


def _audited(invocation: ModelInvocation) -> Audited:
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
        error=invocation.error,
        inference_region=invocation.inference_region,
        changes=False,
    )


_Model: TypeAlias = tuple[Caller, str | None, str | None, str, str, str | None, str | None]
"""What lines of answers have in common: the caller, the key's id, who asks by what name and from
where, the operation, the model's id, and the Region that served it."""


class _Alike(Struct, frozen=True, kw_only=True, gc=False):
    """What many lines have in common."""

    caller: Caller
    access_key_id: str | None
    user_agent: str | None
    source_address: str
    signing_name: str
    operation: str
    model_id: str | None
    elsewhere: str | None
    """The Region that served it, where that is not the caller's."""
    error: str | None = None
    changes: bool = False
    role_arn: str | None = None
    recipient_account_id: str
    is_shared: bool = False
    """Whether another account has a line of the same call."""


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

    def add_invocations(self, invocations: Sequence[ModelInvocation]) -> None:
        """As `add`, in one write; those that it has already are left out."""
        lines: list[str] = []
        last: _Model | None = None
        before = at_id = at_event = after = ""
        begin, end, second = EPOCH
        for invocation in invocations:
            if invocation.audited:
                continue
            invocation.audited = True
            if invocation.error is not None or invocation.caller.shared_arn is not None:
                lines.append(self._lines(_audited(invocation)).decode())
                continue
            # To see that it is as in the line before takes a fifth of what it takes to look for it.
            model = (
                invocation.caller,
                invocation.access_key_id,
                invocation.headers.get("user-agent"),
                invocation.source_address,
                invocation.operation,
                invocation.model_id,
                invocation.inference_region,
            )
            if model != last:
                before, at_id, at_event, after = _model_form(last := model)
            if not begin <= invocation.began_at < end:
                begin, end, second = self._seconds.of(invocation.began_at)
            self._last_id += 1
            lines.append(
                f"{before}{second}{at_id}{invocation.request_id}"
                f"{at_event}{self._ids}{self._last_id}{after}"
            )
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

    def _lines(self, call: Audited) -> bytes:
        """What the caller's account is told, and the account of the resource or role if another."""
        told = _told(call, self._seconds.text(call.began_at).encode())
        role_arn = _role_arn(call)
        recipients = _recipients(call, role_arn)
        if len(recipients) == 1:
            form = _form_of(_alike(call, role_arn, recipients[0]))
            return filled(form, (*told, self._event_id()))
        shared_event_id = str(uuid4()).encode()
        return b"".join(
            filled(
                _form_of(_alike(call, role_arn, recipient, is_shared=True)),
                (*told, self._event_id(), shared_event_id),
            )
            for recipient in recipients
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
        told.append(_encode(shown(call.input, call.signing_name)))
        if _tells_answer(call.operation, changes=call.changes):
            told.append(_encode(shown(call.output, call.signing_name)))
    return (*told, request_id)


def _role_arn(call: Audited) -> str | None:
    """Of the role that somebody wants to assume."""
    text = getattr(call.input, "role_arn", None) if call.signing_name == "sts" else None
    with suppress(ValueError):
        if text is not None and Arn.parse(text).resource_type == "role":
            return str(text)
    return None


def _recipients(call: Audited, role_arn: str | None) -> Sequence[str]:
    """Accounts that are told. Who is denied a role of another account's, only his own is."""
    own = call.caller.account_id
    arn = call.caller.shared_arn or (role_arn if call.error is None else None)
    if arn is None or (owner := Arn.parse(arn).account_id) == own:
        return (own,)
    return (own, owner)


def _alike(
    call: Audited, role_arn: str | None, recipient_account_id: str, *, is_shared: bool = False
) -> _Alike:
    caller, error, region = call.caller, call.error, call.inference_region
    return _Alike(
        caller=caller,
        access_key_id=call.access_key_id,
        user_agent=call.user_agent,
        source_address=call.source_address,
        signing_name=call.signing_name,
        operation=call.operation,
        model_id=call.model_id,
        elsewhere=None if region == caller.region else region,
        error=None if error is None else error.name,
        changes=call.changes,
        role_arn=role_arn,
        recipient_account_id=recipient_account_id,
        is_shared=is_shared,
    )


@lru_cache(maxsize=4_096)
def _model_form(model: _Model) -> Sequence[str]:
    """Of an answer."""
    caller, access_key_id, user_agent, source_address, operation, model_id, region = model
    alike = _Alike(
        caller=caller,
        access_key_id=access_key_id,
        user_agent=user_agent,
        source_address=source_address,
        signing_name=_MODELS,
        operation=operation,
        model_id=model_id,
        elsewhere=None if region == caller.region else region,
        recipient_account_id=caller.account_id,
    )
    return tuple(part.decode() for part in _form_of(alike))


@lru_cache(maxsize=4_096)
def _form_of(alike: _Alike) -> Form:
    caller, operation, changes = alike.caller, alike.operation, alike.changes
    is_own = alike.role_arn is None or alike.recipient_account_id == caller.account_id
    model = None if alike.model_id is None else {"modelId": alike.model_id}
    is_data = operation in _DATA_EVENTS
    record = AuditRecord(
        event_version="1.11",
        user_identity=identity_of(caller, alike.access_key_id)
        if is_own
        else identity_elsewhere(caller),
        event_time=BLANK_TEXT,
        event_source=f"{alike.signing_name}.amazonaws.com",
        event_name=operation,
        aws_region=caller.region,
        source_ip_address=alike.source_address or None,
        user_agent=alike.user_agent,
        error_code=_code(alike.error) if alike.error else None,
        error_message=BLANK if alike.error else None,
        request_parameters=BLANK if changes else model,
        response_elements=BLANK if _tells_answer(operation, changes=changes) else None,
        additional_event_data=_additional(alike) or None,
        request_id=BLANK_TEXT,
        event_id=BLANK_TEXT,
        read_only=_only_reads(operation, changes=changes),
        event_type="AwsApiCall",
        management_event=not is_data,
        recipient_account_id=alike.recipient_account_id,
        resources=_resources(alike),
        shared_event_id=BLANK_TEXT if alike.is_shared else None,
        event_category="Data" if is_data else "Management",
    )
    return form(record)


def _additional(alike: _Alike) -> Mapping[str, str | bool]:
    """Who calls Bedrock without an access key has a bearer key.

    BeyondTrust, "The AWS Bedrock API Keys Security Guide", shows CloudTrail's record of one.
    """
    said: dict[str, str | bool] = {}
    if alike.elsewhere:
        said["inferenceRegion"] = alike.elsewhere
    if alike.signing_name == _MODELS and alike.access_key_id is None:
        said["callWithBearerToken"] = True
    return said


def _resources(alike: _Alike) -> tuple[AuditedResource, ...] | None:
    if alike.operation in _DATA_EVENTS:
        return (AuditedResource(type="AWS::CloudWatch::Metric"),)
    kind = "AWS::IAM::Role" if alike.role_arn else None
    arn = alike.role_arn or alike.caller.shared_arn
    if arn is None:
        return None
    return (AuditedResource(account_id=Arn.parse(arn).account_id, type=kind, arn=arn),)


def _only_reads(operation: str, *, changes: bool) -> bool:
    return not changes or operation.startswith(_READS) or operation in _GIVE_CREDENTIALS


def _tells_answer(operation: str, *, changes: bool) -> bool:
    return operation in _GIVE_CREDENTIALS or not _only_reads(operation, changes=changes)


def _code(error: str) -> str:
    """CloudTrail has the short name of a denial, and the exception's of all others."""
    return "AccessDenied" if error == "AccessDeniedException" else error
