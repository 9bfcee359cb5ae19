"""How this process handles memory, set once before it serves."""

import contextlib
import ctypes
import gc

# <malloc.h>: what mallopt calls them.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
# A decoded photo has some megabytes. glibc would map each anew and give it back at once, and the kernel would clear
# every page again: a tenth of all the CPU that a request takes. Up to this size it is kept for the next one instead.
KEPT_BYTES = 32 * 1024 * 1024
TRIMMED_BYTES = 256 * 1024 * 1024


def keep_freed_memory() -> None:
    """Tells glibc to keep what pictures leave behind; elsewhere nothing changes. Larger ones are still given back."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, TRIMMED_BYTES)


def settle() -> None:
    """Takes what the start has made out of the collector's sight: it stays for ever, and to look at it takes long."""
    gc.collect()
    gc.freeze()
