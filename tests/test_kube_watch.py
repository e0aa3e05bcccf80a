"""Watching and waiting: what happens however a watch ends, and what a wait says when it is over."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kuberay.actions.deploy import API_SERVER, targets, wait
from kuberay.api import kinds
from kuberay.api.calls import Call
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.api.transport import Stream
from kuberay.api.watching import Change
from kuberay.errors import ApiError, Forbidden, Incomplete
from kuberay.observing.wait import WARNINGS, Target, Verdict, wait_for
from kuberay.snapshot import Snapshot, dig
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status
from tests.services import service


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        yield server


@pytest.fixture
def api(fake: FakeKubernetes, tmp_path: Path) -> Api:
    return Api(connect(kubeconfig=fake.kubeconfig(tmp_path)), sleep=lambda _: None)


def thing(name: str, version: int, **more: Any) -> dict[str, Any]:
    about = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "namespace": "default"}
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": about, **more}


def event(type: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": type, "object": item}


def listed(version: int, *items: dict[str, Any]) -> Reply:
    return Reply({"metadata": {"resourceVersion": str(version)}, "items": list(items)})


def serving(fake: FakeKubernetes, lists: list[Reply], watches: list[Reply]) -> None:
    """Lists and watches answered in order; then watches stay open and say nothing."""
    ended = threading.Event()

    def silence() -> Iterator[Any]:
        ended.wait(20)
        yield from ()

    def answer(request: Request) -> Reply:
        if "watch" in request.query:
            return watches.pop(0) if watches else Reply(lines=silence())
        return lists.pop(0) if len(lists) > 1 else lists[0]

    fake.answer = answer


def told(changes: Iterator[Change], count: int) -> list[tuple[str, str, str]]:
    """The next changes: type, name, version."""
    found = []
    for change in changes:
        about = change.object.get("metadata", {})
        found.append((change.type, about.get("name", ""), about.get("resourceVersion", "")))
        if len(found) == count:
            break
    return found


def test_what_is_there_then_what_changes(fake: FakeKubernetes, api: Api) -> None:
    stream = [event("MODIFIED", thing("a", 6)), event("DELETED", thing("a", 7))]
    serving(fake, [listed(5, thing("a", 4))], [Reply(lines=iter(stream))])
    watch = api.watch(kinds.RAYSERVICE, "default", name="a", within=5)
    assert told(iter(watch), 4) == [
        ("ADDED", "a", "4"),
        ("SYNCED", "", ""),
        ("MODIFIED", "a", "6"),
        ("DELETED", "a", "7"),
    ]
    asked = fake.requests[1].query
    assert asked["resourceVersion"] == "5"
    assert asked["fieldSelector"] == "metadata.name=a"
    assert asked["allowWatchBookmarks"] == "true"
    assert asked["timeoutSeconds"] == "5"
    assert "limit" not in asked


@pytest.mark.parametrize("breaks", [False, True])
def test_a_watch_that_ends_goes_on_from_where_it_was(fake: FakeKubernetes, api: Api, breaks: bool) -> None:
    first = [event("MODIFIED", thing("a", 6)), event("BOOKMARK", thing("", 9))]
    serving(
        fake,
        [listed(5, thing("a", 4))],
        [Reply(lines=iter(first), breaks=breaks), Reply(lines=iter([event("MODIFIED", thing("a", 10))]))],
    )
    watch = api.watch(kinds.RAYSERVICE, "default", within=10)
    assert told(iter(watch), 4)[2:] == [("MODIFIED", "a", "6"), ("MODIFIED", "a", "10")]
    assert [one.query["resourceVersion"] for one in fake.requests if "watch" in one.query] == ["5", "9"]
    assert api.calls == {("list", "rayservices.ray.io"): 1, ("watch", "rayservices.ray.io"): 2}


@pytest.mark.parametrize(
    "expired",
    [
        status(410, "Expired", "too old resource version"),
        Reply(lines=iter([event("ERROR", {"kind": "Status", "code": 410, "message": "too old"})])),
    ],
)
def test_an_expired_watch_lists_again_and_tells_only_the_differences(
    fake: FakeKubernetes, api: Api, expired: Reply
) -> None:
    serving(
        fake,
        [
            listed(5, thing("a", 1), thing("b", 2), thing("c", 3)),
            listed(50, thing("a", 1), thing("b", 40), thing("d", 41)),
        ],
        [expired],
    )
    watch = api.watch(kinds.RAYSERVICE, "default", within=10)
    assert told(iter(watch), 8)[4:] == [
        ("DELETED", "c", "3"),
        ("MODIFIED", "b", "40"),
        ("ADDED", "d", "41"),
        ("SYNCED", "", ""),
    ]


def test_an_api_server_that_is_away_is_waited_for(fake: FakeKubernetes, api: Api) -> None:
    away = status(503, "ServiceUnavailable", "starting")
    serving(fake, [listed(5, thing("a", 4))], [away, Reply(lines=iter([event("MODIFIED", thing("a", 6))]))])
    assert told(iter(api.watch(kinds.RAYSERVICE, "default", within=10)), 3)[2] == ("MODIFIED", "a", "6")


def test_an_api_server_that_stays_away_is_told_of_once(fake: FakeKubernetes, api: Api) -> None:
    away = [status(503, "ServiceUnavailable", "starting") for _ in range(3)]
    serving(fake, [listed(5, thing("a", 4))], [*away, Reply(lines=iter([event("MODIFIED", thing("a", 6))]))])
    found = told(iter(api.watch(kinds.RAYSERVICE, "default", within=20)), 5)
    assert [type for type, _, _ in found] == ["ADDED", "SYNCED", "LOST", "BACK", "MODIFIED"]


def test_what_may_not_be_watched_is_said_at_once(fake: FakeKubernetes, api: Api) -> None:
    serving(fake, [status(403, "Forbidden", 'User "me" cannot list resource')], [])
    with pytest.raises(Forbidden):
        list(api.watch(kinds.RAYSERVICE, "default", within=10))
    serving(fake, [listed(5)], [status(403, "Forbidden", 'User "me" cannot watch resource')])
    with pytest.raises(Forbidden, match="may not watch"):
        list(api.watch(kinds.RAYSERVICE, "default", within=10))


def test_the_deadline_ends_it(fake: FakeKubernetes, api: Api) -> None:
    serving(fake, [listed(5)], [Reply(lines=iter([])) for _ in range(100)])
    begun = time.monotonic()
    assert [change.type for change in api.watch(kinds.RAYSERVICE, "default", within=0.5)] == ["SYNCED"]
    assert 0.4 < time.monotonic() - begun < 3
    assert sum("watch" in one.query for one in fake.requests) < 5  # no tight loop


def test_closing_ends_it_from_another_thread(fake: FakeKubernetes, api: Api) -> None:
    serving(fake, [listed(5)], [])
    watch = api.watch(kinds.RAYSERVICE, "default", within=60)
    threading.Timer(0.3, watch.close).start()
    begun = time.monotonic()
    assert [change.type for change in watch] == ["SYNCED"]
    assert time.monotonic() - begun < 5


def judge(snapshot: Snapshot) -> Verdict:
    state = str(dig(snapshot.service, "status", "serviceStatus", default="nothing"))
    return Verdict(state == "Running", state, "it broke" if state == "Broken" else "")


def by_kind(fake: FakeKubernetes, services: list[dict[str, Any]], events: Callable[[], list[dict[str, Any]]]) -> None:
    """A RayService that goes through states, and events."""

    def stream() -> Iterator[Any]:
        for item in services:
            time.sleep(0.15)
            yield event("MODIFIED", item)
        time.sleep(20)

    def answer(request: Request) -> Reply:
        if "events" in request.path:
            return Reply(lines=iter([])) if "watch" in request.query else listed(1, *events())
        return Reply(lines=stream()) if "watch" in request.query else listed(1, thing("llm", 1))

    fake.answer = answer


TARGETS = [Target(kinds.RAYSERVICE, name="llm"), WARNINGS]


def test_a_wait_tells_each_state_and_ends(fake: FakeKubernetes, api: Api) -> None:
    states = [
        thing("llm", 2 + n, status={"serviceStatus": s}) for n, s in enumerate(["Starting", "Starting", "Running"])
    ]
    by_kind(fake, states, list)
    steps = list(wait_for(api, "default", "llm", TARGETS, judge, within=10))
    assert [one.text for one in steps] == ["nothing", "Starting", "Running"]
    assert dig(steps[-1].snapshot.service, "status", "serviceStatus") == "Running"
    assert api.calls["list", "rayservices.ray.io"] == 1


def warning(name: str, message: str, when: str, reason: str = "FailedScheduling") -> dict[str, Any]:
    about = {"name": f"e-{name}-{message}", "uid": f"{name}-{message}", "resourceVersion": "1"}
    involved = {"kind": "Pod", "name": name}
    more = {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": when, "involvedObject": involved}
    return {"apiVersion": "v1", "kind": "Event", "metadata": about, **more}


def test_a_timeout_tells_the_last_state_and_the_warnings_of_this_service(fake: FakeKubernetes, api: Api) -> None:
    def events() -> list[dict[str, Any]]:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return [
            warning("llm-x-worker", "no GPUs", now),
            warning("other-pod", "not ours", now),
            warning("llm-x-worker", "long ago", "2020-01-01T00:00:00Z"),
        ]

    by_kind(fake, [thing("llm", 2, status={"serviceStatus": "Starting"})], events)
    with pytest.raises(Incomplete) as caught:
        list(wait_for(api, "default", "llm", TARGETS, judge, within=0.8))
    text = str(caught.value)
    assert "within 0.8 s. Last state: Starting." in text
    assert "Pod llm-x-worker: FailedScheduling: no GPUs" in text
    assert "not ours" not in text
    assert "long ago" not in text


def test_a_wait_for_what_can_no_longer_come_ends_early(fake: FakeKubernetes, api: Api) -> None:
    by_kind(fake, [thing("llm", 2, status={"serviceStatus": "Broken"})], list)
    begun = time.monotonic()
    with pytest.raises(Incomplete, match=r"it broke. Last state: Broken"):
        list(wait_for(api, "default", "llm", TARGETS, judge, within=60))
    assert time.monotonic() - begun < 5


def test_a_wait_does_without_what_is_optional(fake: FakeKubernetes, api: Api) -> None:
    by_kind(fake, [thing("llm", 2, status={"serviceStatus": "Running"})], list)
    inner = fake.answer
    forbidden = status(403, "Forbidden", 'User "me" cannot list resource "events"')
    fake.answer = lambda request: forbidden if "events" in request.path else inner(request)
    steps = list(wait_for(api, "default", "llm", TARGETS, judge, within=10))
    assert "may not list" in steps[-1].snapshot.unreadable[0]
    with pytest.raises(Forbidden):
        list(wait_for(api, "default", "llm", [*TARGETS, Target(kinds.EVENT)], judge, within=10))


def test_a_wait_says_that_the_api_server_is_away_and_back(fake: FakeKubernetes, api: Api) -> None:
    """What was seen is then old, and must not look like news."""
    away = [status(503, "ServiceUnavailable", "starting") for _ in range(3)]
    done = thing("llm", 6, status={"serviceStatus": "Running"})
    serving(fake, [listed(5, thing("llm", 1))], [*away, Reply(lines=iter([event("MODIFIED", done)]))])
    steps = list(wait_for(api, "default", "llm", TARGETS[:1], judge, within=20))
    told = [(one.text, bool(one.lost)) for one in steps]
    # That it is back may be told before the news is there.
    assert told[:2] + told[-1:] == [("nothing", False), ("nothing", True), ("Running", False)]
    assert told[2:-1] in ([], [("nothing", False)])
    assert "starting" in steps[1].lost
    assert steps[1].snapshot.unreadable[0].startswith("anything since ")
    assert steps[-1].snapshot.unreadable == ()
    assert steps[1].snapshot.taken <= steps[-1].snapshot.taken


def test_a_timeout_says_that_the_api_server_is_away(fake: FakeKubernetes, api: Api) -> None:
    serving(fake, [listed(5, thing("llm", 1))], [status(503, "ServiceUnavailable", "starting") for _ in range(50)])
    with pytest.raises(Incomplete, match=r"The API server is away: .*starting"):
        list(wait_for(api, "default", "llm", TARGETS[:1], judge, within=2.5))


def test_deploy_says_that_the_api_server_is_away_and_back(fake: FakeKubernetes, api: Api) -> None:
    watches = len(targets("llm"))
    serving(fake, [listed(5)], [status(503, "ServiceUnavailable", "starting") for _ in range(3 * watches)])
    said: list[tuple[str, str]] = []
    with pytest.raises(Incomplete):
        for _, stages in wait(api, service(), "0" * 12, within=6):
            said += [(one.state, one.detail) for one in stages if one.name == API_SERVER]
    assert [state for state, _ in said] == ["waiting", "done"]
    assert said[0][1].startswith("does not answer; ")
    assert said[1][1] == "answers again"


def test_a_lasting_state_is_repeated(fake: FakeKubernetes, api: Api) -> None:
    by_kind(fake, [], list)
    steps = []
    with pytest.raises(Incomplete):
        for step in wait_for(api, "default", "llm", TARGETS, judge, within=1.0, repeat_s=0.3):
            steps.append(step.text)
    assert 3 <= len(steps) <= 4


class Answering:
    """An answer whose reader is in the middle of a read until ``leave`` is set."""

    def __init__(self, sock: socket.socket) -> None:
        self.connection = SimpleNamespace(sock=sock)
        self.inside, self.leave, self.closed = (threading.Event() for _ in range(3))

    def stream(self, size: int, *, decode_content: bool) -> Iterator[bytes]:
        yield b"one\ntw"
        self.inside.set()
        self.leave.wait(10)

    def close(self) -> None:
        self.closed.set()


def test_a_stream_is_closed_when_its_reader_has_left_it() -> None:
    near, far = socket.socketpair()
    with near, far:
        answer = Answering(near)
        stream = Stream(Call("watch", "GET", "/"), answer, lambda call, error: ApiError(str(error)))
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(stream.lines()))
        reader.start()
        assert answer.inside.wait(10)
        closer = threading.Thread(target=stream.close)
        closer.start()
        assert far.recv(1) == b"", "the reader is woken"
        assert not answer.closed.wait(0.1), "its number goes to the next socket, which the reader would read from"
        answer.leave.set()
        closer.join(10)
        reader.join(10)
        assert answer.closed.is_set() and lines == [b"one"]
