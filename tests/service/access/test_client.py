import pytest

from service.access import Client
from service.access.client import ANONYMOUS
from service.errors import Forbidden


def test_a_right_that_is_listed_is_had():
    Client("door", frozenset({"detect"})).demand("detect")


def test_no_right_includes_another():
    with pytest.raises(Forbidden, match=r"^the key 'door' lacks the right 'admin'$"):
        Client("door", frozenset({"detect"})).demand("admin")
    with pytest.raises(Forbidden, match="'detect'"):
        Client("boss", frozenset({"admin"})).demand("detect")


def test_without_a_key_one_may_detect_only():
    ANONYMOUS.demand("detect")
    with pytest.raises(Forbidden, match=r"^a request without a key lacks the right 'admin'$"):
        ANONYMOUS.demand("admin")


def test_only_one_client_is_anonymous():
    assert ANONYMOUS.anonymous
    assert not Client("door", frozenset({"detect"})).anonymous
