"""Where limits are shared."""

import pytest

from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.settings import Settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "unix:///run/valkey.sock",
        "redis+cluster://127.0.0.1:7001",
        "redis+sentinel://127.0.0.1/mymaster",
    ],
)
async def test_whatever_redis_there_is_shares_them(url):
    limits = RateLimiter(Settings(redis_url=url))
    assert limits.shared is not None
    await limits.shared.stop()


def test_without_one_each_worker_counts_for_itself():
    assert RateLimiter(Settings()).shared is None
