"""What time it is, by the API server's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.clock import ServerClock
from tests.fake_kubernetes import FakeKubernetes, Reply, fake_kubernetes

EXACT_S = 0.05
"""Between two looks at a clock on a busy machine."""


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        server.answer = lambda _: Reply({})
        yield server


@pytest.fixture
def api(fake: FakeKubernetes, tmp_path: Path) -> Api:
    return Api.connect(kubeconfig=fake.kubeconfig(tmp_path), environ={})


def off(clock: ServerClock) -> float:
    """How far it is from our own, s."""
    return clock.time() - time.time()


def test_where_clocks_agree_it_is_our_own_which_is_finer_than_a_second(fake: FakeKubernetes, api: Api) -> None:
    assert abs(off(api.clock)) < EXACT_S, "nothing has been heard"
    for _ in range(5):
        api.version()
        assert abs(off(api.clock)) < EXACT_S
        time.sleep(0.25)


@pytest.mark.parametrize("ahead_s", [-7200, -3, 3, 7200])
def test_it_is_the_servers_where_ours_is_off_and_the_better_the_more_was_heard(
    fake: FakeKubernetes, api: Api, ahead_s: float
) -> None:
    fake.ahead_s = ahead_s
    api.version()
    assert abs(off(api.clock) - ahead_s) < 1.1
    for _ in range(20):
        api.version()
        time.sleep(0.06)
    assert abs(off(api.clock) - ahead_s) < 0.3
    assert abs(api.clock.now().timestamp() - time.time() - ahead_s) < 0.4


def test_a_clock_that_is_set_meanwhile_is_followed(fake: FakeKubernetes, api: Api) -> None:
    for ahead in (7200, 0, -60):
        fake.ahead_s = ahead
        api.version()
        assert abs(off(api.clock) - ahead) < 1.1


def test_what_a_service_says_behind_the_api_server_is_not_its_time(fake: FakeKubernetes, api: Api) -> None:
    fake.ahead_s = 7200
    api.via_service("GET", "llm-serve-svc", 8000, "/release", "prod")
    assert abs(off(api.clock)) < EXACT_S
    api.list(kinds.POD, "prod")
    assert abs(off(api.clock) - 7200) < 1.1


@pytest.mark.parametrize("date", [None, "", "soon", "Mon, 99 Nov 2026 02:00:00 GMT"])
def test_a_date_that_is_none_says_nothing(date: str | None) -> None:
    clock = ServerClock()
    clock.heard(date, time.monotonic())
    assert abs(off(clock)) < EXACT_S


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=20),
)
def test_the_servers_time_is_never_off_by_more_than_what_cannot_be_known(
    ahead: float, answers: list[tuple[float, float]]
) -> None:
    """Each answer was so long on its way there and back; the best of them bounds the error."""
    clock = ServerClock()
    now, sent = time.time(), time.monotonic()
    for there, back in answers:
        clock.heard(formatdate(now + ahead - back, usegmt=True), sent - there - back)
    assert abs(off(clock) - ahead) <= 1 + min(there + back for there, back in answers) + EXACT_S
