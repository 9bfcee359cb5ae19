"""Engines run the served graph. They know neither requests, queues nor thresholds."""
