"""A connection to Redis that gives up early, for work that can be done without."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# A read takes 0.1 ms of ours and perhaps 0.5 ms of the network's, so these are plenty; more would cost handshakes.
CONNECTIONS = 16
CONNECT_TIMEOUT_S = 0.25
ANSWER_TIMEOUT_S = 0.25
# A connection idle for longer is tried with a PING before it is used: firewalls drop such ones without a word.
HEALTH_CHECK_S = 15


def connect(url: str) -> Redis:
    """A client that connects when it is first used; whoever asked for it closes it with `aclose`.

    It never tries again by itself, since whoever uses it has a budget. Fast without hiredis, faster with it installed.
    `url`: redis://, rediss:// (TLS) or unix://; its query may override the time-outs (`?socket_timeout=1`).
    Raises ValueError where the URL cannot be one of Redis.
    """
    # What a socket file's connection does not know.
    of_network = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), 0),
        # The older protocol needs no greeting: one round trip less before the first answer.
        protocol=2,
        **of_network,
    )
    return Redis.from_pool(pool)
