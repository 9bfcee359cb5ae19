"""A key that is taken back while its stream is open; what that means is in tests/service/live/test_renewal.py."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.access import new_key

pytestmark = pytest.mark.anyio


async def test_its_stream_is_unauthenticated(
    make_stub: Callable[..., Awaitable[Any]], camera: Any, refused: Any, tmp_path: Path
):
    path = tmp_path / "keys.toml"
    token, entry = new_key("camera", ["detect"])
    path.write_text(entry)
    stream = camera(await make_stub(keys_file=path), metadata=(("x-api-key", token),))
    await stream.open()
    path.write_text(new_key("other", ["detect"])[1])
    end = await refused(stream.answer())
    assert (end.code, end.reason) == ("UNAUTHENTICATED", "unauthenticated")
