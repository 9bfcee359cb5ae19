from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from service.camera.shot import FilePicture, VideoPicture
from service.camera.source import Source
from service.camera.video import Video, VideoOptions
from service.vision.image import ImageError


def frame(height: int = 40, width: int = 80) -> av.VideoFrame:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def test_a_frame_is_sent_in_its_size_unless_it_is_too_large():
    parcel = VideoPicture(frame()).pack(80)
    assert parcel.content.shape == (40, 80, 3)
    assert parcel.scale_xy == (1, 1)
    small = VideoPicture(frame()).pack(20)
    assert small.content.shape == (10, 20, 3)
    assert small.scale_xy == (4, 4)


def test_a_file_is_sent_as_it_is_unless_it_is_too_large():
    data = simplejpeg.encode_jpeg(frame().to_ndarray(format="rgb24"))
    assert FilePicture(data).pack(None).content is data
    assert FilePicture(data).pack(80).content is data
    assert FilePicture(data).pack(40).content.shape == (20, 40, 3)


def test_what_is_no_picture_is_sent_for_the_service_to_refuse_but_cannot_be_made_smaller():
    assert FilePicture(b"no picture").pack(None).content == b"no picture"
    with pytest.raises(ImageError):
        FilePicture(b"no picture").pack(40)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_video_that_was_filmed_lying_down_is_made_upright(tmp_path: Path, turned: int):
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10), options={"crf": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 80, 40, "yuv420p"
        stream.set_display_rotation(turned)
        container.mux(stream.encode(frame()))
        container.mux(stream.encode(None))
    video = Video(Source.of(str(tmp_path / "film.mp4")), VideoOptions())
    picture = VideoPicture(next(iter(video)))
    video.close()
    upright = np.rot90(frame().to_ndarray(format="rgb24"), turned // 90)
    assert np.abs(picture.pixels().astype(int) - upright).max() < 30
    parcel = picture.pack(20)
    assert parcel.content.shape[0] * parcel.scale_xy[1] == upright.shape[0]
