"""The built program as users run it, and what stands around it: its configuration, its ingress, its receiver."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, NamedTuple

from schemes import SQUARE_URL, Message

# How long the program may take to start on a busy machine, in seconds.
STARTS_WITHIN = 60
# How long an answer of its ingress may take.
ANSWERS_WITHIN = 60


class Endpoint(NamedTuple):
    """Where outgoing webhooks go, and how they are signed."""

    url: str
    secret: str
    style: str
    header: str


class Receiver:
    """Takes what is sent to it and keeps it: the other end of outgoing webhooks, and an ingress for `send`."""

    def __init__(self) -> None:
        # The path that each was sent to, and what was sent.
        self.taken: list[tuple[str, Message]] = []
        taken = self.taken

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                taken.append((self.path, Message(headers, body)))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()


class Program:
    """One configuration, and the commands and the daemon that run under it."""

    def __init__(
        self, binary: Path, folder: Path, secrets: dict[str, tuple[str, str]], endpoints: list[Endpoint]
    ) -> None:
        """`secrets`: by source its provider and its secret. `endpoints`: where outgoing webhooks go."""
        self.secrets = secrets
        self.binary = binary
        self.folder = folder
        self.address = ("127.0.0.1", free_port())
        config = folder / "config.toml"
        config.write_text(configuration(secrets, endpoints), encoding="utf-8")
        # Nothing of the caller's settings gets in.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CUSTOMER_SYNC") and name not in ("DATABASE_URL", "AMQP_URL", "HTTP_LISTEN")
        } | {
            "CUSTOMER_SYNC_CONFIG": str(config),
            "CUSTOMER_SYNC__DATA__DIRECTORY": str(folder / "data"),
            "HTTP_LISTEN": "{}:{}".format(*self.address),
        }
        self.connection: http.client.HTTPConnection | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The daemon, from ready to stopped."""
        log = self.folder / "log"
        with log.open("w") as out:
            process = subprocess.Popen([self.binary, "run"], env=self.environment, stderr=out, stdout=out)
        try:
            self.wait_until_ready(process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STARTS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()

    def wait_until_ready(self, process: subprocess.Popen, log: Path) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                if self.request("GET", "/readyz") == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the daemon does not get ready:\n{log.read_text()}")

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> int:
        """The status of an answer."""
        self.connection = self.connection or http.client.HTTPConnection(*self.address, timeout=ANSWERS_WITHIN)
        try:
            self.connection.request(method, path, body, headers or {})
            with self.connection.getresponse() as answer:
                answer.read()
                return answer.status
        except OSError:
            self.connection.close()
            self.connection = None
            raise

    def accepts(self, source: str, message: Message) -> bool:
        """Whether our verifier believes a message."""
        status = self.request("POST", f"/ingest/{source}", message.headers, message.body)
        if status not in (202, 401):
            raise RuntimeError(f"/ingest/{source} answered {status}\n{(self.folder / 'log').read_text()[-3000:]}")
        return status == 202

    def send(self, source: str, body: bytes, to: str) -> None:
        """Lets the program sign a body as the provider would, and send it somewhere."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            file.write(body)
            file.flush()
            command = [self.binary, "send", source, file.name, "--via", "http", "--url", to]
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"send {source} failed: {done.stderr}")


def configuration(secrets: dict[str, tuple[str, str]], endpoints: list[Endpoint]) -> str:
    text = """
[webhooks]
allow_http = true
allow_networks = ["127.0.0.0/8"]
"""
    for endpoint in endpoints:
        own = "" if endpoint.style == "standard" else f'signature_header = "{endpoint.header}"'
        text += f"""
[[endpoints]]
name = "{endpoint.style}"
url = "{endpoint.url}"
secret = "{endpoint.secret}"
signature_style = "{endpoint.style}"
{own}
"""
    for name, (provider, secret) in secrets.items():
        address = f"url = {json.dumps(SQUARE_URL)}" if provider == "square" else ""
        text += f"""
[[sources]]
name = "{name}"
provider = "{provider}"
secrets = ["{secret}"]
{address}
"""
    return text


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
