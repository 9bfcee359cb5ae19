"""A folder with the picture of each frame that was answered, with its boxes."""

import os
from pathlib import Path

from service.camera.drawing import draw_answer
from service.camera.events import Answered, Event
from service.vision.encode import encode_picture


class AnnotatedPictures:
    """Named as their files are, those of a video by number; all are JPEG. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def write(self, event: Event) -> None:
        """The picture appears under its name when it is whole."""
        if not isinstance(event, Answered):
            return
        picture = draw_answer(event)
        if picture is None:
            return
        path = self._folder / _file_name(event.shot.name)
        part = path.with_name(path.name + ".part")
        part.write_bytes(encode_picture(picture, "image/jpeg"))
        os.replace(part, path)  # noqa: PTH105

    def close(self) -> None:
        """Every picture is whole already."""


def _file_name(name: str) -> str:
    if name.isdecimal():
        return f"{int(name):06d}.jpg"
    # Beside a.jpg there may be an a.png.
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"
