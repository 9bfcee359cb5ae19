import pytest

from service.access import Allowance, Client, Rate, Rates, SharedRates
from service.access.client import ANONYMOUS
from service.errors import RateLimited

pytestmark = pytest.mark.anyio

DOOR = Client("door", frozenset({"detect"}), Rate(3, 60))
GATE = Client("gate", frozenset({"detect"}))


async def admitted(rates, client, requests, peer=""):
    count = 0
    for _ in range(requests):
        try:
            await rates.take(client, peer=peer)
        except RateLimited:
            continue
        count += 1
    return count


async def test_exactly_the_rate_is_admitted_and_what_is_left_is_told(clock):
    rates = Rates(clock=clock)
    left = [await rates.take(DOOR) for _ in range(3)]
    assert left == [Allowance(3, remaining, 60, 60) for remaining in (2, 1, 0)]
    assert await admitted(rates, DOOR, 9) == 0
    clock.now += 120.0
    assert await admitted(rates, DOOR, 9) == 3


async def test_without_rates_nobody_is_counted():
    rates = Rates()
    await rates.start()
    assert await rates.take(GATE) is None
    assert await rates.take(ANONYMOUS, peer="192.0.2.1") is None
    await rates.aclose()


async def test_a_key_without_a_rate_has_the_default(clock):
    rates = Rates(default=Rate(5, 60), clock=clock)
    assert await admitted(rates, GATE, 9) == 5
    assert await admitted(rates, DOOR, 9) == 3
    assert await rates.take(ANONYMOUS) is None


async def test_each_peer_without_a_key_has_its_own_rate(clock):
    rates = Rates(anonymous=Rate(2, 60), clock=clock)
    for peer in ("192.0.2.1", "192.0.2.2", "", "\ud800", "x" * 1_000_000):
        assert await admitted(rates, ANONYMOUS, 5, peer=peer) == 2
    assert await rates.take(GATE, peer="192.0.2.1") is None


@pytest.mark.parametrize(
    ("peer", "same", "other"),
    [
        ("2001:db8:1:2::1", "2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::/64", "2001:db8::/64", "2001:db8::/65"),
    ],
)
async def test_an_ipv6_network_of_64_bits_is_one_caller(clock, peer, same, other):
    rates = Rates(anonymous=Rate(2, 60), clock=clock)
    assert await admitted(rates, ANONYMOUS, 2, peer=peer) == 2
    assert await admitted(rates, ANONYMOUS, 2, peer=same) == 0
    assert await admitted(rates, ANONYMOUS, 2, peer=other) == 2


async def test_a_crowd_of_strangers_does_not_make_a_key_forgotten(clock):
    rates = Rates(anonymous=Rate(2, 60), capacity=10, clock=clock)
    assert await admitted(rates, DOOR, 9) == 3
    for peer in range(100):
        await rates.take(ANONYMOUS, peer=str(peer))
    assert await admitted(rates, DOOR, 9) == 0
    assert len(rates._peers_here) == 10


async def test_processes_share_and_count_alone_while_redis_is_away(clock, metrics, redis_process):
    one, other = (
        Rates(clock=clock, shared=SharedRates(redis_process.url, metrics=metrics, budget_s=10.0, clock=clock))
        for _ in range(2)
    )
    for rates in (one, other):
        await rates.start()
    assert await admitted(one, DOOR, 2) + await admitted(other, DOOR, 2) == 3
    redis_process.kill()
    assert [await admitted(rates, DOOR, 9) for rates in (one, other)] == [3, 3]
    redis_process.start()
    for rates in (one, other):
        await rates.start()
    assert await admitted(one, DOOR, 2) + await admitted(other, DOOR, 2) == 3
    for rates in (one, other):
        await rates.aclose()
