"""From a body to the image's bytes: every shape that is taken and every one that is not."""

import base64
import json

import pytest

from service.api.upload import MAX_FIELD_BYTES, MAX_PARTS, check_content_type, parse_upload
from service.errors import MalformedRequest, UnsupportedBody

FORM = "multipart/form-data; boundary=XX"
IMAGE = bytes(range(256)) * 40 + b"\r\n--XY\r\n--"


def form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    text = b""
    for name, data in parts:
        text += b'--XX\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n' % name.encode()
        text += data + b"\r\n"
    return text + end


def encoded(**document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_form_gives_the_image_untouched_and_the_fields_in_order():
    upload = parse_upload(FORM, form(("confidence", b"0.5"), ("image", IMAGE), ("classes", "Auto·bus".encode())))
    assert upload.image == IMAGE
    assert upload.fields == (("confidence", "0.5"), ("classes", "Auto·bus"))


def test_a_raw_body_is_the_image():
    assert parse_upload("image/jpeg", IMAGE).image is IMAGE


def test_base64_in_json_is_the_image():
    body = encoded(image=base64.b64encode(IMAGE).decode())
    assert parse_upload("application/json; charset=utf-8", body).image == IMAGE


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (FORM, form(("photo", IMAGE)), "it has 0"),
        (FORM, form(("image", IMAGE), ("image", IMAGE)), "it has 2"),
        (FORM, form(("image", b"")), "empty"),
        (FORM, form(("image", IMAGE), end=b""), "ends before its last boundary"),
        (FORM, b"", "ends before its last boundary"),
        (FORM, b"no form at all", "malformed"),
        (FORM, b"--XX\r\nContent-Type: image/png\r\n\r\nx\r\n--XX--\r\n", "no name"),
        (FORM, form(*[("a", b"1")] * (MAX_PARTS + 1)), "more than"),
        (FORM, form(("image", IMAGE), ("model", b"x" * MAX_FIELD_BYTES)), "the fields beside the image hold more"),
        ("multipart/form-data", form(("image", IMAGE)), "no boundary"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"", "malformed"),
        ("image/png", b"", "empty"),
        ("application/json", b"", "not JSON"),
        ("application/json", b"{", "not JSON"),
        ("application/json", b"\xff\xfe{", "not JSON"),
        ("application/json", b"[" * 100_000, "not JSON"),
        ("application/json", b"[]", "must be"),
        ("application/json", encoded(image=5), "must be"),
        ("application/json", encoded(photo="aGk="), "must be"),
        ("application/json", encoded(image="aGk=", url="http://x"), "nothing but `image`"),
        ("application/json", encoded(image="not base64!"), "not base64"),
        ("application/json", encoded(image="aGk=\n"), "not base64"),
        ("application/json", encoded(image="é"), "not base64"),
        ("application/json", encoded(image=""), "empty"),
    ],
)
def test_malformed_bodies_say_what_is_wrong(content_type: str, body: bytes, reason: str):
    with pytest.raises(MalformedRequest, match=reason):
        parse_upload(content_type, body)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "image", "imagex/png"])
def test_other_content_types_are_refused(content_type: str):
    with pytest.raises(UnsupportedBody, match="multipart/form-data"):
        check_content_type(content_type)
