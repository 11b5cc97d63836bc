"""What buckets and log groups are in this installation: folders, an S3 server, standard output."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from outcrop.metering.config import InvocationLoggingConfig
from outcrop.metering.delivery.records import Delivered, Kind
from outcrop.metering.delivery.s3 import S3Buckets
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.journal import sync_folder
from outcrop.wire.timestamps import Clock

_STDOUT = 1


class Sink(Protocol):
    async def put(self, delivered: Delivered) -> None:
        """Returns when it is there for good. Raises UndeliveredError."""
        ...

    async def aclose(self) -> None: ...


class Destinations:
    """A place of a kind that is not configured takes nothing."""

    def __init__(self, sinks: Mapping[Kind, Sink]) -> None:
        self._sinks = sinks

    def has(self, kind: Kind) -> bool:
        return kind in self._sinks

    async def put(self, delivered: Delivered) -> None:
        """Raises UndeliveredError."""
        sink = self._sinks.get(delivered.place.kind)
        if sink is None:
            raise UndeliveredError(f"nothing is configured to be a {delivered.place.kind}")
        await sink.put(delivered)

    async def aclose(self) -> None:
        for sink in self._sinks.values():
            await sink.aclose()


class Folder:
    """Objects are files: `FOLDER/BUCKET/KEY`, or `FOLDER/KEY` for log groups."""

    def __init__(self, folder: Path, *, by_name: bool) -> None:
        self._folder = folder
        self._by_name = by_name

    async def put(self, delivered: Delivered) -> None:
        folder = self._folder / delivered.place.name if self._by_name else self._folder
        await asyncio.to_thread(_write_file, folder, delivered.key, delivered.body)

    async def aclose(self) -> None:
        """Nothing is open."""


class Stdout:
    """Lines of log groups. Of what a killed server had printed, the last batch may come again."""

    def __init__(self, folder: Folder | None) -> None:
        self._folder = folder

    async def put(self, delivered: Delivered) -> None:
        if self._folder is not None:
            await self._folder.put(delivered)
        if delivered.body:
            await asyncio.to_thread(_print, delivered.body)

    async def aclose(self) -> None:
        """Standard output stays."""


def destinations(
    config: InvocationLoggingConfig, environ: Mapping[str, str], *, clock: Clock
) -> Destinations:
    """Raises InvalidLoggingConfigError where keys to sign with are missing."""
    sinks: dict[Kind, Sink] = {}
    if config.folder is not None:
        sinks["bucket"] = Folder(config.folder, by_name=True)
    elif config.s3.endpoint_url is not None:
        sinks["bucket"] = S3Buckets(config.s3, environ, clock=clock)
    groups = config.cloudwatch_folder
    folder = None if groups is None else Folder(groups, by_name=False)
    if config.cloudwatch_stdout:
        sinks["log_group"] = Stdout(folder)
    elif folder is not None:
        sinks["log_group"] = folder
    return Destinations(sinks)


def _write_file(folder: Path, key: str, body: bytes) -> None:
    """Whole or not at all, under its name; on disk when it returns."""
    path = (folder / key.lstrip("/")).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UndeliveredError(f"{key} would leave its folder")
    unnamed = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with unnamed.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        unnamed.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UndeliveredError(f"{path}: {error.strerror}") from error


def _print(lines: bytes) -> None:
    view = memoryview(lines)
    try:
        while view:
            view = view[os.write(_STDOUT, view) :]
    except OSError as error:
        raise UndeliveredError(f"standard output: {error.strerror}") from error
