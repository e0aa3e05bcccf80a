"""What every unit test is kept from: starting Ray, and talking to anything but this machine. Live tests may do both."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

LOOPBACK = ("127.", "::1", "localhost")


def pytest_configure() -> None:
    """A shell starts what it runs in the background with Ctrl-C ignored, and Python and every child keep to that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def unit_test_limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forbids ``ray.init`` and sockets to other machines. Does not import Ray to do so."""
    if request.node.get_closest_marker("live") or request.node.get_closest_marker("e2e"):
        yield
        return
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a unit test must not connect to {address}")
        connect(self, address)

    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("a unit test must not start Ray; mark it live")

    monkeypatch.setattr(socket.socket, "connect", loopback_only)
    if ray := sys.modules.get("ray"):
        monkeypatch.setattr(ray, "init", no_ray)
    yield
    if ray := sys.modules.get("ray"):  # imported by the test itself
        assert not ray.is_initialized(), "a unit test must not start Ray; mark it live"
