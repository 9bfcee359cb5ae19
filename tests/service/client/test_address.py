import ssl
from pathlib import Path

import pytest

from service.client.address import Address


@pytest.mark.parametrize(
    ("url", "grpc", "tls"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:50051", False),
        ("https://detector.example", "detector.example:50051", True),
        ("http://[::1]:8000/prefix", "[::1]:50051", False),
    ],
)
def test_grpc_is_beside_http(url: str, grpc: str, tls: bool):
    address = Address.of(url)
    assert (address.grpc, address.tls) == (grpc, tls)


def test_grpc_may_be_elsewhere():
    assert Address.of("http://a:1", grpc="b:2").grpc == "b:2"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://a:0"])
def test_what_is_no_url_is_refused(url: str):
    with pytest.raises(ValueError, match="no URL"):
        Address.of(url)


def test_a_port_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Port"):
        Address.of("http://a:99999")


def test_an_authority_without_a_certificate_is_no_wish_for_all_public_ones(tmp_path: Path):
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no certificate"):
        Address.of("https://a", ca=tmp_path / "empty.pem")


def test_a_grpc_address_has_no_scheme():
    with pytest.raises(ValueError, match="no scheme"):
        Address.of("http://a", grpc="http://b:2")


def test_an_authority_is_the_only_one_trusted(certificate: tuple[Path, Path]):
    trust = Address.of("https://a", ca=certificate[0]).trust()
    assert isinstance(trust, ssl.SSLContext)
    assert len(trust.get_ca_certs()) == 1
    assert Address.of("https://a").trust() is True
