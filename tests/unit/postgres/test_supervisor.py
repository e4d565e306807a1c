"""The keeper of the embedded PostgreSQL goes on whatever the machine refuses it."""

import errno
import os
import signal

import pytest

from fleetwire.errors import ConfigError
from fleetwire.postgres.embedded import server as embedded_server
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.embedded.supervisor import kept_running
from harness.process import wait_until


@pytest.mark.parametrize(
    "refusal",
    [BlockingIOError(errno.EAGAIN, "fork failed"), OSError(errno.ENOSPC, "disk full"), ConfigError("it wrote nothing")],
    ids=["fork", "disk", "start"],
)
def test_a_server_that_could_not_be_started_is_started_when_it_can(tmp_path, monkeypatch, refusal):
    start, refused = embedded_server.subprocess.Popen, []

    def refusing(*arguments, **options):
        if len(refused) < 3:
            refused.append(True)
            raise refusal
        return start(*arguments, **options)

    with EmbeddedPostgres(tmp_path / "data") as server, kept_running(server):
        died = server._found.pid
        monkeypatch.setattr(embedded_server.subprocess, "Popen", refusing)
        os.kill(died, signal.SIGQUIT)
        wait_until(
            lambda: server._found is not None and server._found.pid != died and server.running,
            limit_secs=60,
            what="the server runs again",
        )
        assert len(refused) == 3
