"""Streams of frames, whatever carries them: what is delivered, whose turn it is, and the order of the answers.

streams.py    all of them: what opens one, and how all end
stream.py     one: a reader, the frames under way, the answers in order
mailbox.py    delivery `latest`      intake.py: what both are
backlog.py    delivery `every`
turns.py      equal shares in the detector
order.py      the answers in the order of the frames
asking.py     from a frame to the detector
"""

from service.live.frame import Answered, Delivery, Dropped, Every, Failed, Frame, Latest, Outcome
from service.live.stream import Closing, Stream
from service.live.streams import Streams
from service.live.turns import Turns
from service.live.wanted import StreamLimits, Wanted

__all__ = [
    "Answered",
    "Closing",
    "Delivery",
    "Dropped",
    "Every",
    "Failed",
    "Frame",
    "Latest",
    "Outcome",
    "Stream",
    "StreamLimits",
    "Streams",
    "Turns",
    "Wanted",
]
