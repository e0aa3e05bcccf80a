"""Streams beside a rollout: against a real service, through an API server, with failures, and how they are kept."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.records import from_line
from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import Refused, Unreachable
from kuberay.rollout.proof import load
from kuberay.rollout.proof.during import Proof, Wanted, loads
from kuberay.rollout.proof.load import Load, Route, direct, through_api
from kuberay.rollout.proof.trips import Outcome, Trip
from kuberay.rollout.record import Kind, Place, Record, to_json
from switchyard import app
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, certificate, fake_kubernetes, status
from tests.rollout_server import WordEngine, serving

PROXY = "/api/v1/namespaces/prod/services/llm-serve-svc:8000/proxy/generate"


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def events(words: int, release: str = "blue", gap_s: float = 0.0) -> Iterator[bytes]:
    for number in range(words):
        yield f"data: {json.dumps({'text': f'{number} '})}\n\n".encode()
        time.sleep(gap_s)
    usage = {"prompt_tokens": 1, "completion_tokens": words, "total_tokens": words + 1}
    end = {"text": "", "finish_reason": "length", "usage": usage, "release": release}
    yield f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode()


def stream(words: int = 3, **how: Any) -> Reply:
    return Reply(lines=events(words, **how), headers={"Content-Type": "text/event-stream", "Connection": "close"})


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        yield server


def api_of(fake: FakeKubernetes, folder: Path, user: dict[str, Any] | None = None) -> Api:
    return Api(connect(kubeconfig=fake.kubeconfig(folder, user)), lambda seconds: None)


def ran(route: Route, out: Path, until: Callable[[Load], object], **how: Any) -> list[Trip]:
    options: dict[str, Any] = {"streams": 2, "max_tokens": 4, **how}
    one = Load(route, out, **options)
    one.start()
    wait_for(lambda: until(one))
    return one.stop()


def test_streams_run_until_they_are_stopped_and_each_is_written_down(tmp_path: Path) -> None:
    began, out = time.time(), tmp_path / "deep" / "out.jsonl"
    with serving(WordEngine(), key="sk-1") as place:
        route = direct(place.url, {"SWITCHYARD_API_KEY": "sk-1"})
        trips = ran(route, out, lambda one: len(one.trips) >= 20, streams=4)
    assert {one.outcome for one in trips} == {Outcome.FINISHED}
    assert {one.release for one in trips} == {"0123456789ab"}
    assert all(began <= one.sent < one.ended <= time.time() for one in trips)
    records = [from_line(line) for line in out.read_text().splitlines()]
    assert [(one.sent, one.ended) for one in records] == [
        (pytest.approx(one.sent, abs=1e-5), pytest.approx(one.ended, abs=1e-5)) for one in trips
    ]
    assert len({one.index for one in records}) == len(trips)
    assert "sk-1" not in out.read_text() and "sk-1" not in repr(trips)


def test_what_runs_when_it_is_stopped_ends_and_nothing_new_begins(tmp_path: Path) -> None:
    engine = WordEngine(delay_s=0.4)
    with serving(engine) as place:
        one = Load(direct(place.url, {}), tmp_path / "out.jsonl", streams=3, max_tokens=4)
        one.start()
        wait_for(lambda: len(engine.prompts) == 3)
        trips = one.stop()
    assert [trip.outcome for trip in trips] == [Outcome.FINISHED] * 3 and len(engine.prompts) == 3


def test_a_stream_pauses_after_its_answer_and_a_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    with serving(WordEngine()) as place:
        trips = ran(
            direct(place.url, {}), tmp_path / "out.jsonl", lambda one: len(one.trips) >= 3, streams=1, pause_s=0.3
        )
        # A timer counts from the beginning of the loop's turn, which on a busy machine is a while ago.
        assert all(later.sent - earlier.ended >= 0.15 for earlier, later in pairwise(trips))
        begun = time.monotonic()
        ran(direct(place.url, {}), tmp_path / "out.jsonl", lambda one: one.trips, streams=1, pause_s=60)
        assert time.monotonic() - begun < 20


def test_ctrl_c_gives_up_what_runs_and_writes_it_down(tmp_path: Path) -> None:
    engine = WordEngine(delay_s=60)
    with serving(engine) as place:
        one = Load(direct(place.url, {}), tmp_path / "out.jsonl", streams=2, max_tokens=4)
        one.start()
        wait_for(lambda: len(engine.prompts) == 2)
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        trips = one.stop()
    assert [trip.outcome for trip in trips] == [Outcome.GIVEN_UP] * 2
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_a_stream_that_breaks_off_is_dropped_and_the_client_waits_before_it_asks_again(tmp_path: Path) -> None:
    engine = WordEngine(breaks_at=2)
    with serving(engine) as place:
        trips = ran(direct(place.url, {}), tmp_path / "o", lambda one: len(one.trips) >= 3, streams=1)
    assert {one.outcome for one in trips} == {Outcome.DROPPED}
    assert "the engine is gone" in trips[0].error
    assert trips[1].sent - trips[0].ended > 0.2 and trips[2].sent - trips[1].ended > 0.4


def test_nobody_there_is_dropped_too(tmp_path: Path) -> None:
    route = direct("http://127.0.0.1:1", {})
    trips = ran(route, tmp_path / "o", lambda one: one.trips, streams=1)
    assert trips[0].outcome is Outcome.DROPPED and "no connection" in trips[0].error


def test_a_request_that_takes_too_long_is_dropped(tmp_path: Path) -> None:
    with serving(WordEngine(delay_s=30)) as place:
        trips = ran(direct(place.url, {}), tmp_path / "o", lambda one: one.trips, streams=1, timeout_s=0.2)
    assert trips[0].outcome is Outcome.DROPPED and "not done within" in trips[0].error


def test_through_the_api_server_each_event_arrives_when_it_is_sent(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.answer = lambda request: stream(4, gap_s=0.1)
    api = api_of(fake, tmp_path)
    trips = ran(through_api(api, "prod", "llm-serve-svc", 8000), tmp_path / "o", lambda one: one.trips, streams=1)
    record = from_line((tmp_path / "o").read_text().splitlines()[0])
    assert fake.requests[0].path == PROXY
    assert fake.requests[0].headers["authorization"] == "Bearer a-token"
    assert fake.requests[0].body["stream"] is True
    assert trips[0].release == "blue" and trips[0].ttft is not None and trips[0].ttft < 0.1
    assert len(record.gaps) == 3 and min(record.gaps) > 0.05
    assert 0.05 < trips[0].pause < 0.3


def test_the_api_servers_certificate_is_checked(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    with fake_kubernetes(made) as fake:
        fake.answer = lambda request: stream()
        good = fake.kubeconfig(tmp_path)
        text = Path(good).read_text()
        Path(good).write_text(text.replace("server:", f"certificate-authority: {made[0]}\n    server:"))
        trips = ran(
            through_api(Api(connect(kubeconfig=good)), "prod", "llm-serve-svc", 8000),
            tmp_path / "o",
            lambda one: one.trips,
        )
        assert trips[0].outcome is Outcome.FINISHED
        named = Path(good).read_text().replace("//127.0.0.1", "//localhost")
        Path(good).write_text(named)
        assert "ertificate" in load.ask(through_api(Api(connect(kubeconfig=good)), "prod", "llm-serve-svc", 8000))
        Path(good).write_text(named.replace("server:", "tls-server-name: 127.0.0.1\n    server:"))
        assert load.ask(through_api(Api(connect(kubeconfig=good)), "prod", "llm-serve-svc", 8000)) == ""
        Path(good).write_text(text)
        assert "ertificate" in load.ask(through_api(Api(connect(kubeconfig=good)), "prod", "llm-serve-svc", 8000))


def test_credentials_that_expired_are_renewed_and_no_failure_of_the_service(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def answer(request: Request) -> Reply:
        good = request.headers.get("authorization") == "Bearer new"
        return stream() if good else status(401, "Unauthorized", "Unauthorized")

    fake.answer = answer
    route = through_api(api_of(fake, tmp_path, {"tokenFile": str(token)}), "prod", "llm-serve-svc", 8000)
    token.write_text("new")
    trips = ran(route, tmp_path / "o", lambda one: one.trips, streams=1)
    assert {one.outcome for one in trips} == {Outcome.FINISHED}


def test_credentials_that_cannot_be_had_for_a_moment_end_no_stream(tmp_path: Path) -> None:
    told: list[str] = []

    def headers() -> dict[str, str]:
        if not told:
            raise Unreachable("the credential plugin failed")
        return {}

    with serving(WordEngine()) as place:
        route = Route(place.url, "", headers)
        trips = ran(route, tmp_path / "o", lambda one: len(one.trips) > 3, streams=1, say=told.append)
    assert {one.outcome for one in trips} == {Outcome.FINISHED}
    assert told == ["no credentials for the load, which waits: the credential plugin failed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_keeps_the_trips_and_no_command_waiting() -> None:
    told: list[str] = []
    with serving(WordEngine()) as place:
        load = Load(direct(place.url, {}), Path("/dev/full"), streams=1, max_tokens=4, say=told.append)
        load.start()
        wait_for(lambda: load.trips)
        begun = time.monotonic()
        trips = load.stop()
    assert time.monotonic() - begun < 10 and {one.outcome for one in trips} == {Outcome.FINISHED}
    assert "/dev/full cannot be written" in told[0]


def test_a_password_in_the_address_is_in_no_report() -> None:
    assert "s3cret" not in direct("http://alice:s3cret@llm.test", {}).text


def test_a_proper_refusal_is_told_apart_from_a_broken_service(fake: FakeKubernetes, tmp_path: Path) -> None:
    def refusals() -> Iterator[Reply]:
        full = {"error": {"message": "full", "type": "Overloaded", "code": 503}}
        yield Reply(full, 503, {"Retry-After": "0"})
        yield status(503, "ServiceUnavailable", 'no endpoints available for service "llm-serve-svc"')
        while True:
            yield stream()

    replies = refusals()
    fake.answer = lambda request: next(replies)
    route = through_api(api_of(fake, tmp_path), "prod", "llm-serve-svc", 8000)
    trips = ran(route, tmp_path / "o", lambda one: len(one.trips) > 3, streams=1)
    assert [one.outcome for one in trips[:3]] == [Outcome.REFUSED, Outcome.DROPPED, Outcome.FINISHED]
    assert "no endpoints available" in trips[1].error


@pytest.mark.parametrize(
    "answer, said",
    [
        (status(401, "Unauthorized", "Unauthorized"), "API keys is asked with --load-url"),
        (status(403, "Forbidden", "cannot create services/proxy"), "the right to create services/proxy"),
        (status(404, "NotFound", 'services "llm-serve-svc" not found'), 'services "llm-serve-svc" not found'),
    ],
)
def test_before_anything_is_changed_it_is_said_why_the_service_cannot_be_asked(
    fake: FakeKubernetes, tmp_path: Path, answer: Reply, said: str
) -> None:
    fake.answer = lambda request: answer
    proof = Proof(api_of(fake, tmp_path), "prod", "llm", Wanted(2), lambda phase, text: None)
    with pytest.raises(Refused, match="Nothing was changed") as failure:
        proof.check()
    assert said in str(failure.value) and "--api-key-env" not in str(failure.value)


class Kept:
    """An API server that keeps one revision, and passes requests on to the service."""

    def __init__(self, record: Record) -> None:
        self.data = {"record.json": to_json(record)}
        self.refuses = False

    def __call__(self, request: Request) -> Reply:
        if request.path.endswith("/generate"):
            return stream(2)
        if request.method == "PATCH":
            if self.refuses:
                return status(403, "Forbidden", "no")
            self.data |= request.body["data"]
        about = {"name": "llm-revision-2", "namespace": "prod"}
        return Reply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": self.data})


RECORD = Record(2, "llm", Kind.ROLLOUT, Place(2, "green"), Place(1, "blue", "c1"))


def test_a_load_is_kept_with_its_revision_and_another_one_beside_it(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.answer = kept = Kept(RECORD)
    said: list[str] = []
    wanted = Wanted(2, max_tokens=4, out=tmp_path / "out.jsonl")
    proof = Proof(api_of(fake, tmp_path), "prod", "llm", wanted, lambda phase, text: said.append(text))
    with proof.during(2):
        wait_for(lambda: (tmp_path / "out.jsonl").read_text().count("\n") >= 5)
    (found,) = loads(kept.data)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(found.trips) == len(lines) >= 5 and found.streams == 2
    assert said[-1].startswith(f"0 of {len(lines)} requests dropped")
    kept.data["load-elsewhere"], kept.data["load-spoiled"] = (
        next(text for key, text in kept.data.items() if key.startswith("load-")),
        "?",
    )
    assert len(loads(kept.data)) == 2


def test_a_load_that_cannot_be_kept_says_where_it_is_and_the_rollout_goes_on(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.answer = kept = Kept(RECORD)
    kept.refuses = True
    said: list[str] = []
    wanted = Wanted(1, max_tokens=4, out=tmp_path / "out.jsonl")
    proof = Proof(api_of(fake, tmp_path), "prod", "llm", wanted, lambda phase, text: said.append(text))
    with pytest.raises(ValueError, match="of the rollout's own"), proof.during(2):
        raise ValueError("of the rollout's own")
    assert f"is in {tmp_path / 'out.jsonl'}" in said[-1]


@pytest.mark.parametrize("command", ["promote", "abort"])
def test_what_is_refused_sends_nothing(
    fake: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    fake.answer = lambda request: Reply({"metadata": {"resourceVersion": "1"}, "items": []})
    monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
    done = CliRunner().invoke(app, [command, "llm", "-n", "prod", "--load", "2", "--load-out", str(tmp_path / "o")])
    assert done.exit_code == 1 and "No rollout of llm in namespace prod is under way" in done.stderr
    looks = ["/api/v1/namespaces/prod/configmaps", "/apis/ray.io/v1/namespaces/prod/rayservices/llm"]
    assert [(request.method, request.path) for request in fake.requests] == [("GET", path) for path in looks]
    assert not (tmp_path / "o").exists()


def test_without_streams_nothing_is_asked_or_written(fake: FakeKubernetes, tmp_path: Path) -> None:
    proof = Proof(api_of(fake, tmp_path), "prod", "llm", Wanted(out=tmp_path / "o"), lambda phase, text: None)
    proof.check()
    with proof.during(2):
        pass
    assert fake.requests == [] and not (tmp_path / "o").exists()
