"""Tickets by a clock that is moved by hand: who takes them, until when, and what is none."""

import itertools
import os

import pytest

from service.access import Client, Keys, Tickets, new_key
from service.access.client import ANONYMOUS
from service.access.ticket import LIFETIME_S
from service.errors import Unauthenticated


@pytest.fixture
def entries():
    return {name: new_key(name, ["detect"])[1] for name in ("door", "gate")}


@pytest.fixture
def keys_file(tmp_path, entries):
    path = tmp_path / "keys.toml"
    path.write_text("\n".join(entries.values()))
    return path


@pytest.fixture
def make_tickets(keys_file, metrics, clock):
    """As many processes with one keys file as are asked for."""
    return lambda: Tickets(Keys(keys_file, metrics=metrics, clock=clock), clock=clock)


DOOR = Client("door", frozenset({"detect"}))


def test_a_ticket_is_its_clients_in_every_process(make_tickets):
    assert make_tickets().redeem(make_tickets().issue(DOOR)) == DOOR


def test_it_is_good_as_often_as_it_comes_until_it_expires(make_tickets, clock):
    tickets = make_tickets()
    ticket = tickets.issue(DOOR)
    clock.now += LIFETIME_S - 0.1
    assert tickets.redeem(ticket) == tickets.redeem(ticket) == DOOR
    clock.now += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        tickets.redeem(ticket)


def test_no_two_are_equal_and_none_needs_escaping_in_a_url(make_tickets):
    tickets = make_tickets()
    first, second = tickets.issue(DOOR), tickets.issue(DOOR)
    assert first != second
    assert all(letter.isalnum() or letter in "-._~" for letter in first + second)


def test_a_ticket_is_gone_with_its_key_and_the_others_stay(make_tickets, keys_file, entries, clock):
    tickets = make_tickets()
    door, gate = tickets.issue(DOOR), tickets.issue(Client("gate", frozenset({"detect"})))
    keys_file.write_text(entries["gate"])
    clock.now += 2
    assert tickets.redeem(gate).name == "gate"
    with pytest.raises(Unauthenticated, match="not valid"):
        tickets.redeem(door)


def test_a_ticket_is_gone_when_the_name_gets_another_token(make_tickets, keys_file, clock):
    tickets = make_tickets()
    ticket = tickets.issue(DOOR)
    keys_file.write_text(new_key("door", ["detect"])[1])
    os.utime(keys_file, (1, 1))
    clock.now += 2
    with pytest.raises(Unauthenticated, match="not valid"):
        tickets.redeem(ticket)


def test_none_is_issued_to_a_client_whose_key_is_gone(make_tickets):
    with pytest.raises(Unauthenticated, match="not known"):
        make_tickets().issue(Client("nobody", frozenset({"detect"})))


@pytest.mark.parametrize("part", range(4))
def test_whatever_part_is_changed_it_is_no_ticket_any_more(make_tickets, part):
    tickets = make_tickets()
    parts = tickets.issue(DOOR).split("~")
    others = ("gate", str(int(parts[1]) + 1), "A" * 22, "0" * 64)
    parts[part] = others[part]
    with pytest.raises(Unauthenticated, match=r"^the ticket is not valid; get one by POST /v1/stream/ticket$"):
        tickets.redeem("~".join(parts))


def test_a_name_that_is_no_key_cannot_be_signed_for(make_tickets):
    from service.access.ticket import _sign

    signed = f"nobody~9999999999~{'A' * 22}"
    with pytest.raises(Unauthenticated, match="not valid"):
        make_tickets().redeem(f"{signed}~{_sign(bytes(32), signed)}")


@pytest.mark.parametrize("text", ["", "~~~", "door", "x" * 1_000_000, "ключ~1~aaaaaaaaaaaaaaaa~" + "0" * 64, "\ud800"])
def test_other_texts_are_malformed_and_not_repeated(make_tickets, text):
    with pytest.raises(Unauthenticated, match=r"^the ticket is malformed; get one by POST /v1/stream/ticket$"):
        make_tickets().redeem(text)


def test_a_service_without_keys_issues_tickets_that_nobody_looks_at(metrics, clock):
    tickets = Tickets(Keys(None, metrics=metrics), clock=clock)
    for ticket in itertools.chain([tickets.issue(ANONYMOUS)], ["", "anything"]):
        assert tickets.redeem(ticket) is ANONYMOUS
