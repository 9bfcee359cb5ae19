import pytest

from service.camera.source import Source, SourceError, mask


@pytest.mark.parametrize(
    ("text", "kind", "live"),
    [
        ("rtsp://camera/live", "network", True),
        ("http://camera/stream.mjpg?x=1", "network", True),
        ("https://host/film.mp4?token=1", "network", False),
        ("rtmp://host/film.mp4", "network", True),
        ("/dev/video0", "device", True),
        ("-", "pipe", False),
        (".", "folder", False),
        (__file__, "file", False),
    ],
)
def test_what_a_source_is_shows_in_its_text(text: str, kind: str, live: bool):
    source = Source.of(text)
    assert (source.kind, source.live) == (kind, live)
    assert Source.of(text, live=not live).live is not live


def test_a_picture_is_told_by_its_name(tmp_path):
    (tmp_path / "a.JPG").write_bytes(b"")
    assert Source.of(str(tmp_path / "a.JPG")).kind == "picture"


def test_a_network_address_that_is_none():
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@\[::1/live: this is no address"):
        Source.of("rtsp://me:hush@[::1/live")


def test_a_path_where_nothing_is():
    with pytest.raises(SourceError, match=r"nowhere\.mp4: there is no such"):
        Source.of("nowhere.mp4")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:hush@camera:554/live", "rtsp://***@camera:554/live"),
        ("rtsp://me:hu@sh@camera/live", "rtsp://***@camera/live"),
        ("rtsp://me:hu/sh@camera/live", "rtsp://***@camera/live"),
        ("rtsp://me@camera/live", "rtsp://***@camera/live"),
        ("http://camera/video?user=me&pwd=hush", "http://camera/video?***"),
        ("http://camera/video?user=a@b&pwd=hush", "http://camera/video?***"),
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("two: 'rtsp://me:hush@a/x' and rtsp://me:hush@b/y", "two: 'rtsp://***@a/x' and rtsp://***@b/y"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_passwords_are_masked(text: str, shown: str):
    assert mask(text) == shown


def test_nothing_of_a_source_shows_its_password():
    source = Source.of("rtsp://me:hush@camera:554/live?token=hush")
    assert source.name == "rtsp://***@camera:554/live?***"
    assert source.short_name == "camera/live"
    assert "hush" not in repr(source)
    assert "hush" not in str(SourceError(f"cannot open {source.location}"))
