"""Single requests in, batches out. Knows neither engines nor images."""

from service.batching.batcher import Batcher
from service.batching.policy import OldestFirst

__all__ = ["Batcher", "OldestFirst"]
