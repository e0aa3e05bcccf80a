"""The rollout's state machine with the incremental strategy: the laws over everything there can be, and its ways."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuberay.names import INCREMENTAL
from kuberay.rollout import machine
from kuberay.rollout.record import Kind, Outcome, Place, Record, Verb, Wish, from_json, to_json, wish_to_json
from kuberay.rollout.seen import HELD, NEVER_S, Apps, Pace, Seen
from kuberay.rollout.steps import Apply, Decide, Delete, Finish, Note, Nudge, Point, Step, Wait, Watch
from serve_app.decision import Decision
from serve_app.decision import Verb as Decided
from tests.rollout_world import BEGAN, FILE, World, every, gradual, incremental, run

AT = BEGAN.isoformat()
WISHES = [
    Wish(),
    Wish(Verb.PROMOTE, "ada", to=10),
    Wish(Verb.PROMOTE, "ada"),
    Wish(Verb.PROMOTE, "ada", "it must", True),
    Wish(Verb.PROMOTE, "ada", "it must", True, despite="errors"),
    Wish(Verb.ABORT, "ada"),
]
TIMES = [{}, {"applied": AT}, {"applied": AT, "canary-10": AT}, {"applied": AT, "canary-10": AT, "canary-99": AT}]
TIMES += [{"applied": AT, "canary-10": AT, "returned": AT}, {"applied": AT, "canary-99": AT, "switched": AT}]


def records() -> Iterator[Record]:
    return every(incremental, (Kind.ROLLOUT, Kind.DEPLOY, Kind.ROLLBACK), WISHES, TIMES)


def observations() -> list[Seen]:
    found: list[Seen] = []
    decisions = [None, *(Decision(verb, cluster="green") for verb in Decided)]
    paces = (FILE, HELD, Pace(10, NEVER_S), Pace(100, NEVER_S))
    for spec, (active, pending), gone, apps, decision, pace, traffic, nudged, ready, observed in itertools.product(
        ("old", "new", "other"),
        (("blue", ""), ("blue", "green"), ("green", ""), ("green", "blue"), ("", "blue"), ("blue", "third")),
        ("", "blue", "green"),
        (Apps.STARTING, Apps.HELD, Apps.RUNNING, Apps.FAILED),
        decisions,
        paces,
        (0, 10, 99, 100),
        ((), ("blue",), ("green",)),
        (0, 1),
        (True, False),
    ):
        if gone and gone in (active, pending):
            continue
        releases = {"blue": "old", "green": "new", "third": "other"}
        found.append(
            Seen(
                spec_release=spec,
                strategy=INCREMENTAL,
                observed=observed,
                active=active,
                pending=pending,
                alive={name: one for name, one in releases.items() if name != gone},
                ready=dict.fromkeys(releases, ready),
                apps=apps if pending else Apps.NONE,
                decisions={"new": decision} if decision else {},
                pace=pace,
                traffic=traffic if pending else 0,
                nudged=frozenset(nudged),
            )
        )
    return list({repr(one): one for one in found}.values())


SEEN = observations()


def allowed(record: Record) -> int:
    """How much of the traffic may be green's."""
    wish = record.wish
    if record.kind is Kind.ROLLBACK:
        return 100
    if wish.verb is Verb.ABORT:
        return 0
    if wish.verb is Verb.PROMOTE and (record.verdict == "pass" or wish.override):
        return wish.to
    return 100 if record.auto and record.verdict == "pass" else 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("one_of", [101, pytest.param(1, marks=pytest.mark.slow)])  # all: a quarter of an hour
def test_the_laws_hold_for_every_record_and_every_observation(one_of: int) -> None:
    asked = nudges = 0
    for number, record in enumerate(records()):
        for seen in SEEN[number % one_of :: one_of]:
            following = machine.step(record, seen, BEGAN)
            asked += 1
            where = (record, seen, following)
            assert not isinstance(following, Point), "that way would let green through, or blue without replicas"
            if isinstance(following, Decide) and (following.verb, following.release) == (Decided.APPROVE, "new"):
                held = record.kind is Kind.ROLLOUT
                assert not record.back and (not held or allowed(record)), where
                assert not held or seen.ready.get(following.cluster), where
            if isinstance(following, Delete):
                assert record.back and "switched" not in record.times, where
                assert following.cluster == record.green.cluster not in (seen.active, seen.pending), where
            if isinstance(following, Apply):
                assert following.strategy == INCREMENTAL, where
                forward = following.revision == record.green.revision and not record.back
                if forward and following.pace:
                    assert seen.traffic + following.pace.step <= max(allowed(record), seen.traffic), where
                if forward and not following.pace:  # the file's own pace: traffic could move by itself
                    assert record.kind is Kind.DEPLOY or seen.active == "green", where
            if isinstance(following, Nudge):
                nudges += 1
                assert following.cluster not in seen.nudged and seen.observed, where
                assert (following.active, following.pending, following.traffic) == (
                    seen.active,
                    seen.pending,
                    seen.traffic,
                ), where
                assert seen.pace and seen.pace.ours, where
                if following.cluster == seen.pending:
                    assert not record.back and seen.apps is Apps.RUNNING and seen.ready.get(seen.pending), where
                    assert seen.traffic + seen.pace.step <= allowed(record), where
                    assert not (record.breach and record.auto), where
                    decision = seen.decisions.get("new")
                    assert seen.traffic or (decision and decision.verb is Decided.APPROVE), where
                else:
                    assert record.back and following.cluster == "blue" and seen.spec_release == "old", where
                    assert seen.traffic < 100 or seen.pending != "green" or seen.spec_release == "old", where
            if record.back and isinstance(following, Apply | Nudge | Delete) and seen.active == "blue":
                decision = seen.decisions.get("new")
                harmless = not seen.pending and seen.spec_release != "new"
                assert harmless or (decision and decision.verb is Decided.REFUSE), where
    assert asked > 200_000 and nudges > 1000, (asked, nudges)


def names(steps: list[Step]) -> list[str]:
    return [type(one).__name__ for one in steps]


def test_a_good_release_goes_from_stop_to_stop_and_the_files_pace_is_back_at_the_end() -> None:
    world = gradual()
    record, _ = run(world, incremental(auto=True))
    assert (record.outcome, record.why, world.served, world.made) == (Outcome.SERVES, "it serves", ["new"], 2)
    assert world.path == [10, 99, 100]
    assert (world.spec, world.strategy, world.pace, world.pending) == ("new", INCREMENTAL, FILE, "")
    at = [record.times[one] for one in ("canary-10", "canary-99", "switched")]
    assert at == sorted(at)
    watched = (datetime.fromisoformat(at[2]) - datetime.fromisoformat(at[1])).total_seconds()
    assert watched >= record.watch_s, "the last stop is watched as long as a switch is"


def test_it_is_held_at_nothing_then_where_it_was_promoted_to_then_goes_on() -> None:
    world = gradual()
    record, _ = run(world, incremental())
    assert (world.traffic, machine.step(record, world.seen(), world.now)) == (
        0,
        Wait("hold", "the verdict is good; it waits for promote or abort"),
    )
    for _ in range(30):  # nothing moves by itself, however long nobody decides
        world.tick()
    assert world.traffic == 0
    record, _ = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada", to=10)))
    held = machine.step(record, world.seen(), world.now)
    assert isinstance(held, Wait) and held.phase == "hold" and world.traffic == 10
    for _ in range(30):
        world.tick()
    assert world.traffic == 10
    record, _ = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada", to=50)))
    assert world.traffic == 50, "any per cent, not only the file's stops"
    record, _ = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada")))
    assert (record.outcome, world.path, world.served) == (Outcome.SERVES, [10, 50, 99, 100], ["new"])


@pytest.mark.parametrize("at", [0, 10, 99])
def test_an_abort_takes_all_the_traffic_back_in_one_step(at: int) -> None:
    world = gradual()
    record, _ = run(world, incremental())
    if at:
        record, _ = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada", to=at)))
    assert world.traffic == at
    before = len(world.path)
    record, done = run(world, replace(record, wish=Wish(Verb.ABORT, "ada", "no")))
    assert record.outcome is (Outcome.ROLLED_BACK if at else Outcome.ABORTED)
    assert world.path[before:] == ([0] if at else [])
    assert (world.active, world.pending, world.made, set(world.clusters)) == ("c1", "", 2, {"c1"})
    assert (world.spec, world.pace, world.served) == ("old", FILE, [])
    assert names(done)[:3] == ["Note", "Decide", "Apply"]


def test_a_breach_at_a_stop_takes_it_back_under_auto_and_waits_for_a_person_else() -> None:
    world = gradual()
    record, _ = run(world, incremental(auto=True, canary_s=1e9), most=17)
    assert world.traffic == 10
    record, _ = run(world, replace(record, breach="5 % errors"))
    assert (record.outcome, record.why, world.active) == (Outcome.ROLLED_BACK, "5 % errors", "c1")
    world = gradual()
    record, _ = run(world, incremental(wish=Wish(Verb.PROMOTE, "ada"), canary_s=1e9), most=17)
    record, _ = run(world, replace(record, breach="5 % errors"))
    held = machine.step(record, world.seen(), world.now)
    assert isinstance(held, Wait) and held.phase == "hold" and "5 % errors" in held.why and world.traffic == 10
    forced = Wish(Verb.PROMOTE, "ada", "known", override=True, despite="5 % errors")
    record, _ = run(world, replace(record, wish=forced), most=20)
    assert (world.traffic, record.breach) == (99, ""), "it was about the stop before"
    assert isinstance(machine.step(record, world.seen(), world.now), Watch), "the last warm way back is watched"
    worse = replace(record, breach="9 % errors")
    held = machine.step(worse, world.seen(), world.now)
    assert isinstance(held, Wait) and held.phase == "hold" and "9 % errors" in held.why
    record, _ = run(world, replace(record, canary_s=1, watch_s=1))
    assert (record.outcome, record.why) == (Outcome.SERVES, "it serves, but: 5 % errors")


def test_a_green_that_loses_its_endpoints_with_some_of_the_traffic_is_watched_and_not_waited_for() -> None:
    world = gradual()
    record, _ = run(world, incremental(auto=True, canary_s=1e9), most=17)
    there = replace(world.seen(), ready={"c1": 1})
    assert there.traffic == 10
    following = machine.step(replace(record, canary_s=0), there, world.now)
    assert isinstance(following, Watch) and following.cluster == "c2"
    waits = machine.step(replace(record, canary_s=0), replace(there, traffic=0), world.now)
    assert isinstance(waits, Wait) and "no endpoint is ready" in waits.why


def test_with_all_the_traffic_moved_there_is_no_warm_way_back() -> None:
    world = gradual()
    record, _ = run(world, incremental(auto=True), most=400)
    late = replace(record, outcome=Outcome.NONE, wish=Wish(Verb.ABORT, "ada"))
    world.pace = HELD
    record, done = run(world, late)
    assert record.outcome is Outcome.SERVES and "anew" in record.why
    assert (world.active, world.pace, names(done)) == ("c2", FILE, ["Note", "Apply", "Finish"])


def test_a_smaller_surge_takes_more_steps_both_ways() -> None:
    world = gradual(surge=40)
    record, _ = run(world, incremental(wish=Wish(Verb.PROMOTE, "ada", to=99)))
    assert world.path == [10, 50, 90, 99]
    record, _ = run(world, replace(record, wish=Wish(Verb.ABORT, "ada")))
    assert (world.path[4:], record.outcome) == ([59, 19, 0], Outcome.ROLLED_BACK)


def test_a_gate_that_is_open_because_there_is_no_capacity_lets_nothing_through() -> None:
    record = incremental(auto=True, times={"applied": AT}, green=Place(2, "new", "green"), blue=Place(1, "old", "blue"))
    there = Seen("new", INCREMENTAL, True, "blue", "green", {"blue": "old", "green": "new"}, apps=Apps.RUNNING)
    waits = machine.step(record, replace(there, pace=HELD), BEGAN)
    assert isinstance(waits, Wait) and "Gateway" in waits.why
    late = machine.step(replace(record, start_s=-1), replace(there, pace=HELD), BEGAN)
    assert isinstance(late, Note) and "not ready" in late.back


def test_deploy_is_left_to_kuberay_and_a_rollback_is_cold_and_quick() -> None:
    world = gradual()
    record, done = run(world, incremental(kind=Kind.DEPLOY))
    assert (record.outcome, world.served, world.path) == (Outcome.SERVES, ["new"], [30, 60, 90, 100])
    assert "Nudge" not in names(done)
    back = incremental(number=3, kind=Kind.ROLLBACK, green=Place(1, "old"), blue=Place(2, "new", "c2"))
    record, done = run(world, replace(back, canary=()))
    assert (record.outcome, world.path[4:], world.made) == (Outcome.SERVES, [100], 3)
    assert (world.clusters[world.active].release, world.pace) == ("old", FILE)
    world = World(spec="", strategy=INCREMENTAL, active="", clusters={})
    record, _ = run(world, incremental(blue=Place()))
    assert (record.outcome, world.pace) == (Outcome.SERVES, FILE), "the first install has nothing beside it"


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, 60),
    good=st.booleans(),
    breaks=st.booleans(),
    auto=st.booleans(),
    away=st.integers(0, 5),
    to=st.sampled_from([10, 60, 100]),
    gone=st.sampled_from(["", "c2"]),
)
def test_an_abort_at_any_step_leads_back_or_says_that_it_is_too_late(
    cut: int, good: bool, breaks: bool, auto: bool, away: int, to: int, gone: str
) -> None:
    """The operator may be away for a while, and green may vanish at that very step."""
    world = gradual(good=good, breaks=breaks)
    record, _ = run(world, incremental(auto=auto, wish=Wish(Verb.PROMOTE, "ada", to=to)), most=cut)
    if not record.running:
        return
    if gone != world.active:
        world.clusters.pop(gone, None)
    late = world.traffic == 100 or world.active != "c1"
    world.operator = away == 0
    record, _ = run(world, replace(record, wish=Wish(Verb.ABORT, "ada")), most=away)
    world.operator = True
    record, done = run(world, record)
    assert isinstance(done[-1], Finish) if done else not record.running
    assert (world.strategy, world.pace) == (INCREMENTAL, FILE)
    if not late:
        assert record.outcome in (Outcome.ABORTED, Outcome.ROLLED_BACK)
        for _ in range(60):
            world.tick()
        assert (world.clusters[world.active].release, world.pending, world.spec, world.traffic) == ("old", "", "old", 0)
        assert world.active == "c1" or gone == "c2"


@pytest.mark.parametrize("record", list(records())[::97], ids=lambda one: one.kind.value)
def test_a_record_survives_its_config_map(record: Record) -> None:
    assert from_json(to_json(record), wish_to_json(record.wish)) == record
