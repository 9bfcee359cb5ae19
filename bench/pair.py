"""Two numbers with an x between them, as command lines take sizes (WxH) and input shapes (HxW)."""

import argparse


def parse_pair(text: str) -> tuple[int, int]:
    """For argparse's ``type``."""
    try:
        first, second = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers with an x between them") from None
    return first, second
