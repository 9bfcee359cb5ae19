"""Who may do what, and how often: keys, rights and rates. Knows no transport."""

from service.access.allowance import Allowance
from service.access.client import Client
from service.access.keyfile import new_key
from service.access.keys import KeyRing, Keys
from service.access.rate import Rate
from service.access.rates import Rates
from service.access.shared import SharedRates
from service.access.ticket import Tickets
from service.access.token import presented_token

__all__ = [
    "Allowance",
    "Client",
    "KeyRing",
    "Keys",
    "Rate",
    "Rates",
    "SharedRates",
    "Tickets",
    "new_key",
    "presented_token",
]
