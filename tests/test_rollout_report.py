"""The report of a revision, what differs between two, and both as they are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kuberay.rollout.proof.between import Side, as_json, between, lines
from kuberay.rollout.proof.pictures import draw
from kuberay.rollout.proof.report import page
from kuberay.rollout.proof.story import Story
from kuberay.rollout.record import Kind, Place, Record, Verb, Wish
from switchyard import app
from tests import report_world as world
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status
from tests.services import text

Run = Callable[..., Result]
VOID = {"meta", "path", "use", "br", "rect", "line"}


def drawn(story: Story) -> str:
    pictures, note = draw(story)
    return page(story, pictures, [note] if note else [])


class Balanced(HTMLParser):
    """Fails on tags that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words(html: str) -> str:
    reader = Balanced()
    reader.feed(html)
    assert reader.open == []
    return " ".join(" ".join(reader.words).split())


@pytest.mark.parametrize("name", ["switch", "back", "bare"])
def test_a_page_needs_nothing_else_and_is_small(name: str) -> None:
    html = drawn(world.told()[name])
    assert words(html)
    outside = {one for one in re.findall(r"(?:https?:)?//[\w.-]+", html) if "w3.org" not in one}
    assert outside == set()
    assert "<script" not in html and "@import" not in html and "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    paths = [
        one
        for one in ids
        if not re.match(r"(figure|axes|patch|line2d|matplotlib|text|PathC|Fill|xtick|ytick|legend)", one)
    ]
    assert len(paths) == len(set(paths)), "one picture would be drawn with another's shapes"
    assert len(html) < 600_000


def test_what_matters_is_on_the_page() -> None:
    said = words(drawn(world.switch()))
    story = world.switch()
    assert f"0 of {story.account.sent} requests dropped" in said
    for text_ in (
        "llm, revision 2: rollout, release", world.BLUE, world.GREEN, "ada@laptop", "promote by grace@desk",
        "answers were read by two people", "approved by grace@desk; the gate opens", "1:14.0",
        "Traffic during the whole rollout",
        "The switch from near", "All 14 routes answer", "ttft ratio p50", "1.04", "model.max_model_len: 4096 -> 8192",
        "24 streams through the API server", "p99 first token after",
    ):  # fmt: skip
        assert text_ in said, text_
    assert "Failures" not in said and "The way back" not in said


def test_a_rollback_shows_its_drops_and_both_moves() -> None:
    said = words(drawn(world.back()))
    assert "3 of" in said and "the connection broke: reset by peer" in said
    assert "The way back from near" in said and "the watch found: p99" in said and "rolled back" in said


def test_what_was_overlooked_at_a_stop_stays_in_the_report() -> None:
    times = {"canary-10": world.at(70), "breached": world.at(80), "canary-99": world.at(90), "ended": world.at(120)}
    forced = Wish(Verb.PROMOTE, "ada", "known", override=True, despite="5 % errors")
    said = words(drawn(world.story(world.record(times=times, wish=forced), [])))
    assert "99 % of the traffic is on it, and watched" in said and "the watch found: 5 % errors" in said


def test_without_a_load_the_page_says_so_and_shows_the_rest() -> None:
    html = drawn(world.bare())
    said = words(html)
    assert "No requests are kept: with --load N" in said
    assert "<svg" not in html and "aborted: the verdict is bad" in said and "fail latency" in said
    assert "validated" in said and "What changed" in said


def test_a_first_install_and_a_revision_that_is_only_begun_have_pages() -> None:
    first = world.story(Record(1, "llm", Kind.DEPLOY, Place(1, world.GREEN), began=world.at(0)), [], old=Side(0, ""))
    said = words(drawn(first))
    assert "running outcome" in said and "What changed" not in said and "No verdict is kept" in said


def test_nothing_that_was_written_elsewhere_becomes_html() -> None:
    evil = "<img src=x onerror=alert(1)>"
    story = world.story(world.record(by=evil, why=evil, green=Place(2, evil)), [])
    assert "<img" not in page(story, [])


def test_data_for_programs() -> None:
    found = json.loads(json.dumps(world.back().to_json(), allow_nan=False))
    assert found["requests"]["dropped"] == 3 and len(found["requests"]["crossings"]) == 2
    assert [one["phase"] for one in found["phases"]][:2] == ["applied", "held"]
    assert found["phases"][1]["took_s"] == pytest.approx(58)
    assert found["verdict_document"]["passed"] is True


OLD, NEW = world.side(world.OLD, 1), world.side(world.NEW, 2)


def test_two_revisions_differ_in_what_was_changed_and_not_in_their_names() -> None:
    changed = between(OLD, NEW)
    assert changed[0].difference.dotted == "model.max_model_len"
    shown = "\n".join(lines(OLD, NEW, changed))
    assert "release model.max_model_len: 4096 -> 8192" in shown and "registry.test/switchyard:1.1" in shown
    assert all(world.GREEN not in line for line in shown.splitlines()[1:])
    assert as_json(OLD, NEW, changed)["changes"][0]["path"] == "model.max_model_len"
    back = between(NEW, OLD)
    assert (back[0].difference.before, back[0].difference.after) == (8192, 4096) and len(back) == len(changed)


def test_a_revision_and_itself_do_not_differ() -> None:
    assert between(NEW, NEW) == []
    assert lines(NEW, NEW, [])[0].endswith("no difference")


def test_objects_that_came_and_went_are_told_unless_nobody_kept_them() -> None:
    fewer = Side(1, world.BLUE, tuple(one for one in OLD.objects if one["kind"] != "PodDisruptionBudget"))
    assert len(fewer.objects) < len(OLD.objects)
    assert any(one.mark == "+" and one.thing.startswith("PodDisruptionBudget/") for one in between(fewer, NEW))
    assert any(one.mark == "-" and one.thing.startswith("PodDisruptionBudget/") for one in between(NEW, fewer))
    found = Side(1, world.BLUE, fewer.objects, whole=False)
    assert not any(one.thing.startswith("PodDisruptionBudget/") for one in between(found, NEW))


def test_secrets_are_not_shown() -> None:
    container = {"name": "ray", "env": [{"name": "HF_TOKEN", "value": "hf_abcdefghijklmn"}]}
    old = Side(1, "a", ({"kind": "RayService", "metadata": {"name": "llm"}, "spec": {}},))
    new = Side(2, "b", ({"kind": "RayService", "metadata": {"name": "llm"}, "spec": {"containers": [container]}},))
    shown = "\n".join(lines(old, new, between(old, new)))
    assert "hf_abcdefghijklmn" not in shown and "[redacted]" in shown


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    kept = {one["metadata"]["name"]: one for one in world.kept()}

    def answer(request: Request) -> Reply:
        name = request.path.rpartition("/")[2]
        if name == "configmaps":
            return Reply({"metadata": {"resourceVersion": "1"}, "items": list(kept.values())})
        return Reply(kept[name]) if name in kept else status(404, "NotFound", f'configmaps "{name}" not found')

    with fake_kubernetes() as server:
        server.answer = answer
        yield server


@pytest.fixture
def run(fake: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KUBECONFIG", fake.kubeconfig(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llm.yaml").write_text(text())
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "-f", "llm.yaml"])


def test_report_writes_the_page_and_its_pictures(run: Run, tmp_path: Path) -> None:
    done = run("report", "--out", "deep/out.html", "--png")
    assert done.exit_code == 0, done.output
    assert (
        "requests dropped" in done.stdout
        and "Wrote deep/out.html, deep/out-traffic.png, deep/out-crossing-1.png." in done.stdout
    )
    assert "revision 2" in words((tmp_path / "deep/out.html").read_text())
    pictures = sorted(path.name for path in (tmp_path / "deep").glob("*.png"))
    assert pictures == ["out-crossing-1.png", "out-traffic.png"]
    assert all((tmp_path / "deep" / one).read_bytes().startswith(b"\x89PNG") for one in pictures)


def test_report_of_an_older_revision_has_a_place_of_its_own(run: Run, tmp_path: Path) -> None:
    done = run("report", "1")
    assert done.exit_code == 0, done.output
    assert "No requests are kept" in done.stdout
    assert (tmp_path / "build/rollouts/llm-1.html").is_file()


def test_report_as_data_writes_no_file(run: Run, tmp_path: Path) -> None:
    done = run("report", "2", "-o", "json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["requests"]["dropped"] == 0 and found["loads"][0]["streams"] == 8
    assert not (tmp_path / "build").exists()
    both = run("report", "2", "-o", "json", "--out", "both.html")
    assert json.loads(both.stdout) == found and "Wrote both.html" in both.stderr


def test_report_of_what_is_not_kept(run: Run) -> None:
    done = run("report", "7")
    assert done.exit_code == 1 and "llm has no revision 7" in done.stderr


def test_diff_of_two_revisions(run: Run) -> None:
    done = run("diff", "--revisions", "1", "2")
    assert done.exit_code == 2
    assert done.stdout.startswith("revision 1 (release ") and "model.max_model_len: 4096 -> 8192" in done.stdout
    same = run("diff", "--revisions", "2", "2")
    assert same.exit_code == 0 and "no difference" in same.stdout
    data = json.loads(run("diff", "--revisions", "2", "1", "-o", "json").stdout)
    assert data["before"]["revision"] == 2 and data["changes"][0]["before"] == 8192
    assert run("diff", "--revisions", "1", "9").exit_code == 1
