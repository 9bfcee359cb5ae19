"""Numbers that are typed as flags: what is wrong with one is said in words."""

from argparse import ArgumentTypeError


def number(text: str) -> float:
    """Any. Raises ArgumentTypeError."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None


def positive(text: str) -> float:
    """Above zero and finite. Raises ArgumentTypeError."""
    value = number(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not above zero")
    return value


def whole(text: str) -> int:
    """A whole one above zero. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 1:
        raise ArgumentTypeError(f"{text} is not above zero")
    return value
