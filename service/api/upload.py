"""From a body to the image's bytes and the form fields beside it: multipart, raw, or base64 in JSON.

Plain functions of bytes. Whether the bytes are an image is not known here, and no URL is ever fetched.
"""

import binascii
import json
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedRequest, UnsupportedBody

IMAGE_FIELD = "image"
MAX_PARTS = 64
# Of all fields beside the image together: room for the name of every class, too little to be worth echoing back.
MAX_FIELD_BYTES = 1 << 16
ACCEPTED = "multipart/form-data with a field `image`, an image/* type, or application/json"


@dataclass(frozen=True, slots=True)
class Upload:
    """`fields` are the other fields of a form, in order."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()


def check_content_type(content_type: str) -> None:
    """Raises UnsupportedBody for what `parse_upload` would not take, before the body is read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json") and not media_type.startswith("image/"):
        raise UnsupportedBody(f"content type {media_type or 'none'!r} carries no image; send {ACCEPTED}")


def parse_upload(content_type: str, body: bytes) -> Upload:
    """`content_type` is the header as it came. Raises UnsupportedBody or MalformedRequest."""
    check_content_type(content_type)
    media_type, parameters = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        upload = _parse_multipart(parameters.get(b"boundary", b""), body)
    elif media_type == b"application/json":
        upload = Upload(_parse_json(body))
    else:
        upload = Upload(body)
    if not upload.image:
        raise MalformedRequest("the image is empty")
    return upload


def _parse_json(body: bytes) -> bytes:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise MalformedRequest("the body is not JSON") from exc
    if not isinstance(document, dict) or not isinstance(document.get(IMAGE_FIELD), str):
        raise MalformedRequest('the JSON body must be {"image": "<base64>"}')
    if len(document) > 1:
        raise MalformedRequest("the JSON body holds nothing but `image`; options are query parameters")
    try:
        return binascii.a2b_base64(document[IMAGE_FIELD], strict_mode=True)
    except ValueError as exc:
        raise MalformedRequest("`image` is not base64") from exc


@dataclass(slots=True)
class _Form:
    """Collects the parts that the parser announces. `parts` are (name, data)."""

    parts: list[tuple[str, bytes]] = field(default_factory=list)
    complete: bool = False
    _header: bytes = b""
    _value: bytes = b""
    _name: str | None = None
    _chunks: list[bytes] = field(default_factory=list)

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(self._value)[1].get(b"name")
            self._name = None if name is None else name.decode("utf-8", "replace")
        self._header = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        if self._name is None:
            raise MalformedRequest("a part of the form has no name")
        if len(self.parts) == MAX_PARTS:
            raise MalformedRequest(f"the form has more than {MAX_PARTS} parts")
        self.parts.append((self._name, b"".join(self._chunks)))
        self._name = None
        self._chunks = []

    def on_end(self) -> None:
        self.complete = True


def _parse_multipart(boundary: bytes, body: bytes) -> Upload:
    if not boundary:
        raise MalformedRequest("the multipart content type names no boundary")
    form = _Form()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": form.on_end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise MalformedRequest(f"the multipart body is malformed: {exc}") from exc
    if not form.complete:
        raise MalformedRequest("the multipart body ends before its last boundary")
    images = [data for name, data in form.parts if name == IMAGE_FIELD]
    if len(images) != 1:
        raise MalformedRequest(f"the form must have one field `image`; it has {len(images)}")
    if sum(len(name) + len(data) for name, data in form.parts if name != IMAGE_FIELD) > MAX_FIELD_BYTES:
        raise MalformedRequest(f"the fields beside the image hold more than {MAX_FIELD_BYTES:,} bytes")
    fields = tuple((name, data.decode("utf-8", "replace")) for name, data in form.parts if name != IMAGE_FIELD)
    return Upload(images[0], fields)
