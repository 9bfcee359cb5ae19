import tomllib

import pytest

from service.access import Client, Rate, new_key
from service.access.keyfile import MOST_BYTES, read_keys
from service.access.token import digest_token
from service.errors import SettingsError

A, B = "a" * 64, "b" * 64


def entry(name="door", sha256=A, rights='["detect"]', more=""):
    return f'[[key]]\nname = "{name}"\nsha256 = "{sha256}"\nrights = {rights}\n{more}\n'


def test_keys_are_read_in_order(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(entry(more='rate = "20/second"') + entry("boss", B.upper(), '["detect", "admin"]'))
    door, boss = read_keys(path)
    assert door == Client("door", frozenset({"detect"}), Rate(20, 1))
    assert boss == Client("boss", frozenset({"detect", "admin"}), None)
    assert (door.digest.hex(), boss.digest.hex()) == (A, B)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "holds no [[key]]"),
        ("key = []", "holds no [[key]]"),
        ("key = 3", "holds no [[key]]"),
        ("key = [3]", "key 1: not a table; write [[key]] above each"),
        ("[[keys]]", "unknown field 'keys'; known are key"),
        ("[[key]", "not TOML: "),
        (entry(more='rat = "1/second"'), "key 1: unknown field 'rat'; known are name, sha256, rights, rate"),
        (entry(more='"a\\nb" = 1'), r"key 1: unknown field 'a\nb'; known are"),
        (entry(name=""), "key 1: name must be"),
        (entry(name="a\\nb"), "key 1: name must be"),
        (entry(name="anonymous"), "key 1: name must be"),
        (entry(name="x" * 65), "key 1: name must be"),
        (entry(sha256="a" * 63), "key 1: 'door': sha256 must be 64 hexadecimal digits"),
        (entry(sha256="g" * 64), "key 1: 'door': sha256 must be 64 hexadecimal digits"),
        (entry(rights="[]"), "key 1: 'door': rights must be a list of detect and admin, one at least"),
        (entry(rights='"detect"'), "key 1: 'door': rights must be"),
        (entry(rights='["detect", "root"]'), "key 1: 'door': rights must be"),
        (entry(rights="[[1]]"), "key 1: 'door': rights must be"),
        (entry(more="rate = 20"), "key 1: 'door': rate must be text, like \"20/second\""),
        (entry(more='rate = "often"'), "key 1: 'door': a rate is written like 20/second"),
        (entry(more='rate = ""'), "key 1: 'door': a rate is written like 20/second"),
        (entry() + entry(sha256=B), "key 2: the name 'door' is taken"),
        (entry() + entry(name="gate"), "key 2: 'gate' has the sha256 of another key"),
        ("#" * (MOST_BYTES + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, finding):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as refusal:
        read_keys(path)
    message = str(refusal.value)
    assert message.startswith(f"keys file {path}: {finding}")
    assert len(message.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "latin").write_bytes(b'[[key]]\nname = "\xe4"')
    for name, finding in (("none", "No such file or directory"), (".", "Is a directory"), ("latin", "not TOML: ")):
        with pytest.raises(SettingsError, match=f": {finding}") as refusal:
            read_keys(tmp_path / name)
        assert len(str(refusal.value).splitlines()) == 1


def test_a_token_pasted_as_hash_is_not_repeated(tmp_path):
    token, _ = new_key("door", ["detect"])
    path = tmp_path / "keys.toml"
    path.write_text(entry(sha256=token))
    with pytest.raises(SettingsError) as refusal:
        read_keys(path)
    assert token not in str(refusal.value)


def test_a_new_key_is_read_back(tmp_path):
    path = tmp_path / "keys.toml"
    door, door_entry = new_key("door", ["detect"], "20/second")
    boss, boss_entry = new_key("boss", ("detect", "admin"))
    path.write_text(door_entry + "\n" + boss_entry)
    keys = read_keys(path)
    assert [client.rate for client in keys] == [Rate(20, 1), None]
    assert [client.digest for client in keys] == [digest_token(door), digest_token(boss)]
    assert keys[1].rights == {"detect", "admin"}


def test_the_entry_holds_the_hash_and_not_the_token():
    token, text = new_key("door", ["detect"])
    [stored] = tomllib.loads(text)["key"]
    assert stored["sha256"] == digest_token(token).hex()
    assert token not in text
    assert stored["sha256"] not in token


@pytest.mark.parametrize(
    ("name", "rights", "rate"),
    [('do"or', ["detect"], None), ("door", ["root"], None), ("door", [], None), ("door", ["detect"], "often")],
)
def test_a_new_key_is_checked_as_a_file_is(name, rights, rate):
    with pytest.raises(SettingsError):
        new_key(name, rights, rate)


def test_a_key_shows_neither_token_nor_hash(tmp_path):
    token, text = new_key("door", ["detect"])
    path = tmp_path / "keys.toml"
    path.write_text(text)
    shown = repr(read_keys(path))
    assert token not in shown
    assert digest_token(token).hex() not in shown
    assert repr(digest_token(token)) not in shown
