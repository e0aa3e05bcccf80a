"""``status``, ``logs`` and ``port-forward`` as they are typed: wrong names, what is said, and exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.cli.common import Target
from kuberay.cli.forward import _report_failures, _token_command
from kuberay.errors import ApiError, NotFound
from kuberay.rollout.record import Kind, Place, Record, Verb, Wish, to_json, wish_to_json
from kuberay.rollout.store import REVISION_LABEL
from switchyard import app
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status
from tests.kube_world import CLUSTER, World

Run = Callable[..., Result]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fake(world: World) -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        server.answer = world
        yield server


@pytest.fixture
def run(fake: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("command", ["status", "logs", "port-forward"])
def test_a_wrong_name_is_told_with_the_names_there_are(run: Run, command: str) -> None:
    done = run(command, "nobody", "-n", "prod")
    assert done.exit_code == 1
    assert "There is no service nobody in namespace prod of fake. There are: llm -n prod." in done.stderr
    assert "age" not in done.stdout


def test_without_the_right_to_look_for_others_a_wrong_name_is_told_all_the_same(run: Run, world: World) -> None:
    world.lists["rayservices"] = []
    done = run("logs", "nobody", "-n", "prod")
    assert done.exit_code == 1
    assert done.stderr.strip().endswith("There is no service nobody in namespace prod of fake.")


def test_what_may_not_be_read_is_not_called_absent(run: Run, world: World) -> None:
    world.refused = {"rayservices"}
    done = run("logs", "llm", "-n", "prod")
    assert "There is no service" not in done.stderr


def test_all_services_cannot_be_watched(run: Run) -> None:
    done = run("status", "-w")
    assert done.exit_code == 1
    assert "One service is watched" in done.stderr


@pytest.mark.parametrize("output", ["text", "json"])
def test_watching_into_a_pipe_prints_each_state(run: Run, fake: FakeKubernetes, world: World, output: str) -> None:
    def answer(request: Request) -> Reply:
        if "watch" not in request.query:
            return world(request)
        time.sleep(1)
        return status(403, "Forbidden", 'User "me" cannot watch resource "pods"')

    fake.answer = answer
    done = run("status", "llm", "-n", "prod", "-w", "-o", output)
    assert done.exit_code == 1
    assert "may not watch" in done.stderr
    assert CLUSTER in done.stdout, "what there is is shown first"
    assert "llm-serve-svc" in done.stdout


def test_findings_stay_json_beside_a_bundle(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "llm", "-n", "prod", "-o", "json", "--bundle", str(tmp_path / "out.tgz"))
    assert done.exit_code == 1
    assert json.loads(done.stdout)["service"] == "llm"
    assert f"Wrote {tmp_path / 'out.tgz'}" in done.stderr
    again = run("doctor", "--from", str(tmp_path / "out.tgz"), "-o", "json")
    assert json.loads(again.stdout) == json.loads(done.stdout)


def test_a_cluster_that_was_not_read_has_no_age(run: Run, world: World) -> None:
    """Its name is in the RayService's status a moment before it is in the list."""
    world.lists["rayclusters"] = []
    done = run("status", "llm", "-n", "prod")
    assert done.exit_code == 0
    [line] = [one for one in done.stdout.splitlines() if one.startswith(CLUSTER)]
    assert line.split()[-1] == "-"


def test_a_change_that_is_under_way_is_shown_with_who_wants_what_of_it(run: Run, world: World) -> None:
    assert "Change" not in run("status", "llm", "-n", "prod").stdout
    assert json.loads(run("status", "llm", "-n", "prod", "-o", "json").stdout)["change"] is None
    held = Record(2, "llm", Kind.ROLLOUT, Place(2, "bbb"), by="ada@host", times={"hold": "2026-01-01T10:11:12+00:00"})
    data = {"record.json": to_json(held), "wish.json": wish_to_json(Wish(Verb.PROMOTE, "bob", "at noon"))}
    about = {"name": "llm-revision-2", "namespace": "prod", "uid": "2", "labels": {REVISION_LABEL: "2"}}
    world.lists["configmaps"] = [{"metadata": about, "data": data}]
    line = "Change revision 2, rollout by ada@host: hold, since 10:11:12 UTC; promote wished by bob: at noon"
    assert line in " ".join(run("status", "llm", "-n", "prod").stdout.split())
    change = json.loads(run("status", "llm", "-n", "prod", "-o", "json").stdout)["change"]
    assert (change["number"], change["wish"]["verb"]) == (2, "promote")


@pytest.fixture
def there(fake: FakeKubernetes, tmp_path: Path) -> Target:
    return Target(Api(connect(kubeconfig=fake.kubeconfig(tmp_path)), sleep=lambda _: None), "prod", "llm")


def test_the_dashboards_token_is_not_printed_but_how_to_get_it(there: Target) -> None:
    command = _token_command(there)
    assert command.startswith("kubectl --context fake -n prod get secret ray-token -o go-template=")
    assert "{{.data.auth_token | base64decode}}" in command
    assert "t0k3n" not in command


def test_a_port_whose_pod_is_gone_ends(there: Target, capsys: pytest.CaptureFixture[str]) -> None:
    forward = there.api.forward("pod", 8000, "prod")
    forward.error = NotFound("There is no Pod pod.")
    with pytest.raises(NotFound, match=r"The pod behind this port is gone\. Run it again"):
        _report_failures(forward)
    forward.close()


def test_a_port_that_fails_says_why_each_reason_once(there: Target, capsys: pytest.CaptureFixture[str]) -> None:
    forward = Failing([ApiError("not ready"), ApiError("not ready"), ApiError("refused"), NotFound("gone")])
    with pytest.raises(NotFound):
        _report_failures(forward)  # pyright: ignore[reportArgumentType]
    assert capsys.readouterr().err == "switchyard: not ready\nswitchyard: refused\n"


class Failing:
    """A forward with an error for each time it is asked."""

    def __init__(self, errors: list[ApiError]) -> None:
        self._errors = errors

    @property
    def error(self) -> ApiError:
        return self._errors.pop(0)
