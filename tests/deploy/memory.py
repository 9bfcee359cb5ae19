"""What a gateway may take of its memory at the worst, by its settings: docs/deploy.md, Memory, in code."""

from service.settings import Settings

MB = 1_000_000
# A process with its libraries, and one with the embedded engine and both shipped models, as they were measured at work.
PROCESS, ENGINE = 250 * MB, 950 * MB
# What a picture takes that waits for a batch, in the largest shape; and a pixel that is decoded, and once converted.
WAITING, DECODED_PER_PIXEL = 640 * 640 * 3, 2 * 3


def most_bytes(settings: Settings, threads: int) -> int:
    """With so many threads that decode in each process; without streams, whose frames are small or a key's fault."""
    bodies = 2 * settings.max_in_flight * settings.max_body_bytes  # slow senders have as many places again
    decoding = threads * settings.max_pixels * DECODED_PER_PIXEL
    waiting = settings.queue_capacity * WAITING
    own = ENGINE if settings.engine == "embedded" else PROCESS
    return settings.workers * (own + bodies + decoding + waiting + settings.cache_memory_bytes)
