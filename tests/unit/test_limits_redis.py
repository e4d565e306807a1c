"""Which Redis the limits are shared by."""

import pytest

from fleetwire.access.limits import Limits
from fleetwire.settings import Settings


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "unix:///run/valkey.sock"])
async def test_one_server_is_shared(url):
    limits = Limits(Settings(redis_url=url))
    assert limits.shared is not None
    await limits.shared.stop()


@pytest.mark.parametrize("url", [None, "redis+cluster://127.0.0.1:7001", "redis+sentinel://127.0.0.1/mymaster"])
def test_without_one_each_worker_counts_for_itself(url):
    assert Limits(Settings(redis_url=url)).shared is None
