"""The ring, and the ring in force while its file is changed under it."""

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access import Client, KeyRing, Keys, Rate, new_key
from service.access.client import ANONYMOUS
from service.access.token import digest_token
from service.errors import SettingsError, Unauthenticated

NAMES = [f"client-{n}" for n in range(6)]


def make_key(name):
    return Client(name, frozenset({"detect"}), digest=digest_token(f"token of {name}"))


def write(path, *entries):
    """As an editor does it: the new file takes the old one's place at once."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(entries))
    new.replace(path)


@pytest.fixture
def two_keys():
    return new_key("door", ["detect"]), new_key("gate", ["detect", "admin"])


@given(names=st.permutations(NAMES), asked=st.sampled_from(NAMES))
def test_the_result_does_not_depend_on_the_order(names, asked):
    ring = KeyRing(tuple(make_key(name) for name in names))
    assert ring.authenticate(f"token of {asked}").name == asked


@given(names=st.permutations(NAMES), token=st.text())
def test_any_other_text_is_refused_in_any_order(names, token):
    with pytest.raises(Unauthenticated, match=r"^the key is not known$"):
        KeyRing(tuple(make_key(name) for name in names)).authenticate(token)


@pytest.mark.parametrize("token", ["", "x" * 10_000_000, "ключ", "\ud800", "\x00\n", "token of client-0 "])
def test_strange_tokens_are_only_unknown(token):
    with pytest.raises(Unauthenticated, match=r"^the key is not known$"):
        KeyRing((make_key("client-0"),)).authenticate(token)


def test_no_token_says_how_to_send_one():
    with pytest.raises(Unauthenticated, match="a key is needed; send `Authorization: Bearer"):
        KeyRing((make_key("door"),)).authenticate(None)


def test_the_hash_is_not_a_token():
    key = make_key("door")
    with pytest.raises(Unauthenticated):
        KeyRing((key,)).authenticate(key.digest.hex())


def test_an_open_ring_takes_everybody_for_anonymous(metrics):
    for ring in (KeyRing.open(), Keys(None, metrics=metrics)):
        assert ring.authenticate(None) is ANONYMOUS
        assert ring.authenticate("whatever") is ANONYMOUS


def test_a_ring_is_read_from_a_file(tmp_path, two_keys):
    (door, door_entry), (gate, gate_entry) = two_keys
    write(tmp_path / "keys.toml", door_entry, gate_entry)
    ring = KeyRing.from_file(tmp_path / "keys.toml")
    assert len(ring) == 2
    assert [ring.authenticate(token).name for token in (gate, door)] == ["gate", "door"]


def test_a_bad_file_stops_the_start(tmp_path, metrics):
    with pytest.raises(SettingsError, match="No such file"):
        Keys(tmp_path / "keys.toml", metrics=metrics)


def test_a_changed_file_is_followed_after_a_second(tmp_path, two_keys, metrics, clock):
    (door, door_entry), (gate, gate_entry) = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    keys = Keys(path, metrics=metrics, clock=clock)
    write(path, gate_entry)
    clock.now += 0.9
    assert keys.authenticate(door).name == "door"
    clock.now += 0.1
    assert keys.authenticate(gate).name == "gate"
    with pytest.raises(Unauthenticated):
        keys.authenticate(door)


@pytest.mark.parametrize("broken", ["[[key]", None])
def test_a_broken_file_keeps_the_old_keys_and_is_said_once(broken, tmp_path, two_keys, metrics, clock, caplog):
    (door, door_entry), _ = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    keys = Keys(path, metrics=metrics, clock=clock)
    if broken is None:
        path.unlink()
    else:
        write(path, broken)
    for _ in range(5):
        clock.now += 1.0
        assert keys.authenticate(door).name == "door"
    assert metrics.registry.get_sample_value("yolov7_errors_total", {"kind": "keys"}) == 1
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("; the 1 keys read before stay valid")


def test_a_file_that_is_mended_is_followed(tmp_path, two_keys, metrics, clock):
    (_, door_entry), (gate, gate_entry) = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    keys = Keys(path, metrics=metrics, clock=clock)
    for text in ("[[key]", gate_entry):
        write(path, text)
        clock.now += 1.0
        with pytest.raises(Unauthenticated):
            keys.authenticate(None)
    assert keys.authenticate(gate).name == "gate"


def test_a_link_that_is_turned_is_followed(tmp_path, two_keys, metrics, clock):
    """How Kubernetes changes a mounted secret."""
    (door, door_entry), (gate, gate_entry) = two_keys
    for name, text in (("old", door_entry), ("new", gate_entry)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1, 1))
    path = tmp_path / "keys.toml"
    path.symlink_to("old")
    keys = Keys(path, metrics=metrics, clock=clock)
    assert keys.authenticate(door).name == "door"
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "link").replace(path)
    clock.now += 1.0
    assert keys.authenticate(gate).name == "gate"


def test_tokens_never_reach_the_log(tmp_path, two_keys, metrics, clock, caplog):
    (door, door_entry), (gate, gate_entry) = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    with caplog.at_level(logging.DEBUG):
        keys = Keys(path, metrics=metrics, clock=clock)
        keys.authenticate(door)
        for text in (door_entry + gate_entry, f'name = "{gate}"'):
            write(path, text)
            clock.now += 1.0
            keys.authenticate(gate)
    assert len(caplog.records) == 2
    assert door not in caplog.text
    assert gate not in caplog.text


def test_a_client_is_renewed_by_its_key(tmp_path, two_keys, metrics, clock):
    (door, door_entry), (_, gate_entry) = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    keys = Keys(path, metrics=metrics, clock=clock)
    client = keys.authenticate(door)
    write(path, gate_entry, door_entry.replace('"detect"', '"admin"') + 'rate = "2/second"\n')
    clock.now += 1.0
    renewed = keys.renew(client)
    assert (renewed.name, renewed.rights, renewed.rate) == ("door", {"admin"}, Rate(2, 1))
    assert keys.renew(renewed) is renewed


@pytest.mark.parametrize("name", ["gate", "door"])
def test_none_is_renewed_whose_key_is_gone_or_replaced(name, tmp_path, two_keys, metrics, clock):
    (door, door_entry), _ = two_keys
    path = tmp_path / "keys.toml"
    write(path, door_entry)
    keys = Keys(path, metrics=metrics, clock=clock)
    client = keys.authenticate(door)
    write(path, new_key(name, ["detect"])[1])
    clock.now += 1.0
    with pytest.raises(Unauthenticated, match="not valid any more"):
        keys.renew(client)


def test_without_keys_everybody_is_who_he_was(metrics):
    assert Keys(None, metrics=metrics).renew(ANONYMOUS) is ANONYMOUS
