"""Single requests in, batches out. Knows neither engines nor images."""

from service.batching.batcher import Batcher
from service.batching.policy import Adaptive, Ahead
from service.batching.queue import Answer, Entry

__all__ = ["Adaptive", "Ahead", "Answer", "Batcher", "Entry"]
