"""Single requests in, batches out. Knows neither engines nor images."""

from service.batching.batcher import Batcher, Bounds
from service.batching.policy import OldestFirst

__all__ = ["Batcher", "Bounds", "OldestFirst"]
