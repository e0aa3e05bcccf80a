"""The wait that takes the place of vLLM's, on real sockets like those of its ``SpinCondition``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from serve_app.shm_wait import BUSY_MS, QUIET_MS, wait


class Reader:
    """The attributes of vLLM's ``SpinCondition`` that a reader has."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.last_read = time.monotonic() - 10
        self.busy_loop_s = 1.0
        self.writer = context.socket(zmq.PUB)
        self.writer.setsockopt(zmq.SNDHWM, 1)
        self.writer.bind("inproc://notify")
        self.local_notify_socket = context.socket(zmq.SUB)
        self.local_notify_socket.setsockopt(zmq.CONFLATE, 1)
        self.local_notify_socket.setsockopt_string(zmq.SUBSCRIBE, "")
        self.local_notify_socket.connect("inproc://notify")
        self.write_cancel_socket = context.socket(zmq.PAIR)
        self.write_cancel_socket.bind("inproc://cancel")
        self.read_cancel_socket = context.socket(zmq.PAIR)
        self.read_cancel_socket.connect("inproc://cancel")
        self.poller = zmq.Poller()
        self.poller.register(self.read_cancel_socket, zmq.POLLIN)
        self.poller.register(self.local_notify_socket, zmq.POLLIN)

    def waits(self, timeout_ms: int | None = None) -> float:
        """How long a wait takes, s."""
        begun = time.monotonic()
        wait(self, timeout_ms)
        return time.monotonic() - begun


@pytest.fixture
def reader() -> Iterator[Reader]:
    context = zmq.Context[zmq.Socket[bytes]]()
    yield Reader(context)
    context.destroy(linger=0)


def test_a_lost_note_costs_little(reader: Reader) -> None:
    assert reader.waits() >= QUIET_MS / 1000 * 0.9
    assert min(reader.waits(timeout_ms=5) for _ in range(5)) < 0.03
    reader.last_read = time.monotonic() + 60
    assert min(reader.waits() for _ in range(20)) < 0.02
    assert reader.waits() >= BUSY_MS / 1000 * 0.5


def test_waiting_takes_no_processor(reader: Reader) -> None:
    reader.last_read = time.monotonic() + 60
    begun, cpu = time.monotonic(), time.thread_time()
    while time.monotonic() - begun < 1:
        wait(reader)
    assert time.thread_time() - cpu < 0.5


def test_a_note_wakes_it_and_is_used_up(reader: Reader) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # a subscription takes a moment
        reader.writer.send(b"\0")
        if reader.waits() < QUIET_MS / 1000 / 2:
            break
    reader.writer.send(b"\0")
    assert min(reader.waits() for _ in range(2)) < QUIET_MS / 1000 / 2
    while reader.local_notify_socket.poll(0):
        wait(reader)
    assert reader.waits() >= QUIET_MS / 1000 * 0.9


def test_a_cancellation_wakes_it(reader: Reader) -> None:
    threading.Timer(0.005, reader.write_cancel_socket.send, [b"\0"]).start()
    begun = time.monotonic()
    while not reader.read_cancel_socket.poll(0) and time.monotonic() - begun < 10:
        wait(reader)
    assert reader.waits() < QUIET_MS / 1000 / 2, "and stays awake: the caller sees that it is shutting down"
