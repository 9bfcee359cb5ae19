"""How many requests a client may make in how long."""

from dataclasses import dataclass

from limits import parse_many

from service.errors import SettingsError

# Redis keeps a window for twice its length and counts it in milliseconds; nobody needs more than a month.
MOST_WINDOW_S = 30 * 24 * 3600
MOST_LIMIT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in any `window_s` seconds."""

    limit: int
    window_s: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """From `20/second`, `600/minute`, `100 per 5 minutes`. Raises SettingsError with one line."""
        try:
            items = parse_many(text)
        except ValueError:  # the library's own message repeats the text as it is, line breaks too
            items = []
        if len(items) != 1:
            raise SettingsError(f"a rate is written like 20/second or 100 per 5 minutes (got {text[:40]!r})")
        limit, window_s = items[0].amount, items[0].get_expiry()
        if not 1 <= limit <= MOST_LIMIT or window_s > MOST_WINDOW_S:
            raise SettingsError(f"a rate is 1 to {MOST_LIMIT} requests in at most 30 days (got {text[:40]!r})")
        return cls(limit, window_s)

    def __str__(self) -> str:
        """In the form that `parse` reads."""
        return f"{self.limit} per {self.window_s} seconds"
