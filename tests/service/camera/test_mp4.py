"""What the encoder cannot do is one line, as anything else that cannot be written."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from service.camera.events import Failed
from service.camera.mp4 import Mp4
from service.camera.shot import FilePicture, Shot


def test_a_picture_that_is_too_large_for_the_encoder_is_one_line(tmp_path: Path):
    picture = FilePicture(simplejpeg.encode_jpeg(np.zeros((16, 20_000, 3), np.uint8)))
    video = Mp4(tmp_path / "wide.mp4")
    with pytest.raises(OSError, match=r"wide\.mp4: "):
        video.write(Failed(Shot(0, "0", 0.0, None, 0.0, None, picture), "", ""))
    video.close()
