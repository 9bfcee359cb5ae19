"""Who asks: a value that outlives the key it was found by."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from service.access.rate import Rate
from service.errors import Forbidden

Right = Literal["detect", "admin"]
RIGHTS: tuple[Right, ...] = get_args(Right)


@dataclass(frozen=True, slots=True)
class Client:
    """`rate` is None where the key sets none. No right includes another: a key has those that it lists.

    `digest` is what `digest_token` makes of the key's token, and says whether a key is still the same; it is nobody's
    business but this package's.
    """

    name: str
    rights: frozenset[Right]
    rate: Rate | None = None
    digest: bytes = field(default=b"", repr=False, compare=False)

    @property
    def anonymous(self) -> bool:
        """True for everybody at a service without keys."""
        return self.name == ANONYMOUS.name

    def demand(self, right: Right) -> None:
        """Raises Forbidden where the right is missing."""
        if right not in self.rights:
            whose = "a request without a key" if self.anonymous else f"the key {self.name!r}"
            raise Forbidden(f"{whose} lacks the right {right!r}")


ANONYMOUS = Client("anonymous", frozenset({"detect"}))
