"""Images, documents, video and audio in a body: to objects of their own, or left out. Pure."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from msgspec import DecodeError, Struct, json

from outcrop.metering.log_records import may_have_media
from outcrop.wire.shapes.bedrock import LoggingConfig

_Object: TypeAlias = dict[str, Any]


class Media(Struct, frozen=True):
    suffix: str
    """`_1.png`: of its key, after the request's id and side."""
    data: bytes


def extracted(body: bytes, config: LoggingConfig, uri: str | None) -> tuple[bytes, list[Media]]:
    """The body with what is not text taken out.

    Bytes of a Converse block become an `s3Location` beginning with `uri`, or without one nothing.
    In native bodies what the switches allow stays where it is.
    """
    if not may_have_media(body, images=config.image_data_delivery_enabled is not False):
        return body, []
    try:
        document = json.decode(body)
    except DecodeError:
        return body, []
    taking = _Taking(config, uri)
    try:
        taking.walk(document)
    except RecursionError:
        return b"null", []  # no request of the service is nested like that
    return json.encode(document), taking.media


class _Taking:
    def __init__(self, config: LoggingConfig, uri: str | None) -> None:
        images = config.image_data_delivery_enabled is not False
        self._wanted: Mapping[str, bool] = {
            "image": images,
            "document": images,
            "video": config.video_data_delivery_enabled is not False,
            "audio": config.audio_data_delivery_enabled is not False,
        }
        self._images = images
        self._uri = uri
        self.media: list[Media] = []

    def walk(self, value: Any) -> None:
        if isinstance(value, list):
            items = cast("Sequence[Any]", value)
            for item in items:
                self.walk(item)
        elif isinstance(value, dict):
            self._members(cast("_Object", value))

    def _members(self, value: _Object) -> None:
        self._native(value)
        for name, member in value.items():
            if name in self._wanted and isinstance(member, dict):
                self._block(name, cast("_Object", member))
            self.walk(member)

    def _block(self, name: str, block: _Object) -> None:
        """`{"format": "png", "source": {"bytes": "…"}}`, as Converse and Nova have it."""
        source = block.get("source")
        data = cast("_Object", source).get("bytes") if isinstance(source, dict) else None
        if not isinstance(data, str):
            return
        block["source"] = {}
        if self._wanted[name] and self._uri is not None:
            suffix = f"_{len(self.media) + 1}.{_extension(block.get('format'))}"
            self.media.append(Media(suffix, _decoded(data)))
            block["source"] = {"s3Location": {"uri": f"{self._uri}{suffix}"}}

    def _native(self, value: _Object) -> None:
        """Claude's, OpenAI's, Titan's and Cohere's images, where images are not to be delivered."""
        if self._images:
            return
        if value.get("type") == "base64":
            value.pop("data", None)
        for name in ("url", "inputImage", "image_url"):
            if _is_image(name, value.get(name)):
                value[name] = ""
        images: Any = value.get("images")
        if isinstance(images, list):
            listed = cast("Sequence[Any]", images)
            value["images"] = ["" if isinstance(one, str) else one for one in listed]


def _is_image(name: str, value: object) -> bool:
    return isinstance(value, str) and (name == "inputImage" or value.startswith("data:"))


def _extension(name: object) -> str:
    return name if isinstance(name, str) and name.isalnum() else "bin"


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text.encode()
