"""The rollout's state machine: its laws over everything there can be, and where it leads in a model of KubeRay."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuberay.rollout import machine, steps
from kuberay.rollout.record import Kind, Outcome, Place, Record, Verb, Wish, from_json, to_json, wish_to_json
from kuberay.rollout.seen import Apps, Seen
from kuberay.rollout.steps import Apply, Decide, Delete, Finish, Step, Wait
from serve_app.decision import Decision
from serve_app.decision import Verb as Decided
from tests.rollout_world import BEGAN, Cluster, World, every, rollout, run

ABORT, KEEP = Wish(Verb.ABORT, "ada"), Wish(Verb.ABORT, "ada", keep=True)
WISHES = [Wish(), Wish(Verb.PROMOTE, "ada"), Wish(Verb.PROMOTE, "ada", "it must", True), ABORT, KEEP]
TIMES = [{}, {"applied": BEGAN.isoformat()}, {"applied": BEGAN.isoformat(), "switched": BEGAN.isoformat()}]


def records() -> Iterator[Record]:
    yield from every(rollout, (Kind.ROLLOUT, Kind.DEPLOY, Kind.ROLLBACK), WISHES, TIMES)
    yield from (replace(one, warm=True) for one in every(rollout, (Kind.ROLLBACK,), WISHES, TIMES) if one.green.cluster)


def observations() -> list[Seen]:
    decisions = [None, *(Decision(verb, cluster=cluster) for verb in Decided for cluster in ("", "green", "other"))]
    found: list[Seen] = []
    for spec, strategy, active, pending, alive, apps, decision in itertools.product(
        ("old", "new", "other"),
        ("NewCluster", "None"),
        ("", "blue", "green"),
        ("", "blue", "green", "third"),
        (("blue", "green"), ("blue",), ("green",), ("blue", "green", "third")),
        tuple(Apps),
        decisions,
    ):
        if active and (active == pending or active not in alive):
            continue
        releases = {"blue": "old", "green": "new", "third": "other"}
        found.append(
            Seen(
                spec_release=spec,
                strategy=strategy,
                active=active,
                pending=pending,
                alive={name: releases[name] for name in alive},
                ready=dict.fromkeys(alive, 1) if decision is None or decision.cluster != "other" else {},
                apps=apps if pending else Apps.NONE,
                # Where its head was restarted, blue's gate has to be told once more.
                decisions={"new": decision} if decision else {"old": Decision(Decided.APPROVE, cluster="blue")},
            )
        )
    return list({repr(one): one for one in found}.values())


SEEN = observations()


def may_be_approved(record: Record) -> bool:
    if record.kind is not Kind.ROLLOUT:  # whoever asked for it has decided
        return True
    wish = record.wish
    asked = wish.verb is Verb.PROMOTE and (record.verdict == "pass" or wish.override)
    return asked or (record.auto and record.verdict == "pass")


@pytest.mark.parametrize("kind", [Kind.ROLLOUT, Kind.DEPLOY, Kind.ROLLBACK])
def test_the_laws_hold_for_every_record_and_every_observation(kind: Kind) -> None:
    asked = 0
    for record in records():
        if record.kind is not kind:
            continue
        for seen in SEEN:
            following = machine.step(record, seen, BEGAN)
            asked += 1
            where = (record, seen, following)
            if isinstance(following, Decide) and following.verb is Decided.APPROVE and following.release == "old":
                assert record.back and seen.active != following.cluster == record.blue.cluster, where
            elif isinstance(following, Decide) and following.verb is Decided.APPROVE:
                assert may_be_approved(record), where
                assert not record.back and record.wish.verb is not Verb.ABORT, where
                assert record.kind is not Kind.ROLLOUT or seen.ready.get(following.cluster), where
            if isinstance(following, Delete):
                assert record.back and ("switched" not in record.times or record.wish == ABORT), where
                assert following.cluster == record.green.cluster not in (seen.active, record.blue.cluster), where
                assert following.cluster != seen.pending and seen.active == record.blue.cluster, where
            if isinstance(following, steps.Point):
                assert following.active == seen.active and seen.strategy == "None", where
                goal = record.green if record.warm and not record.back else record.blue
                assert following.cluster in ("", goal.cluster), where
            if record.back and isinstance(following, Apply | steps.Point | Delete):
                decision = seen.decisions.get("new")
                harmless = seen.active != "blue" or (not seen.pending and seen.spec_release != "new")
                assert harmless or (decision and decision.verb is Decided.REFUSE), where
    assert asked >= 720 * len(SEEN)


def test_a_record_that_has_ended_asks_for_nothing() -> None:
    for outcome in Outcome:
        if outcome is Outcome.NONE:
            continue
        for seen in SEEN[::7]:
            assert isinstance(machine.step(rollout(outcome=outcome), seen, BEGAN), Wait)


def names(steps: list[Step]) -> list[str]:
    return [type(one).__name__ for one in steps]


def test_a_good_release_is_promoted_by_its_verdict() -> None:
    world = World()
    record, done = run(world, rollout(auto=True))
    assert (record.outcome, record.why) == (Outcome.SERVES, "it serves")
    assert names(done)[:6] == ["Decide", "Apply", "Note", "Validate", "Decide", "Note"]
    assert world.served == ["new"] and world.made == 2


def test_a_bad_release_is_aborted_by_its_verdict_and_never_serves() -> None:
    world = World(good=False)
    record, _ = run(world, rollout(auto=True))
    assert (record.outcome, record.why) == (Outcome.ABORTED, "the verdict is bad")
    assert (world.served, world.made, set(world.clusters)) == ([], 2, {"c1"})
    assert (world.spec, world.strategy, world.active) == ("old", "NewCluster", "c1")


def test_without_auto_it_waits_for_somebody_who_may_overrule_the_verdict() -> None:
    world = World(good=False)
    record, _ = run(world, rollout())
    held = machine.step(record, world.seen(), world.now)
    assert isinstance(held, steps.Wait) and held.phase == "hold"
    record, done = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada")))
    assert (record.running, done, world.served) == (True, [], [])
    record, _ = run(world, replace(record, wish=Wish(Verb.PROMOTE, "ada", "it must", override=True)))
    assert (record.outcome, world.served) == (Outcome.SERVES, ["new"])
    assert world.decisions["new"].by == "ada"


def test_a_breach_after_the_switch_gives_the_traffic_back_to_the_warm_cluster() -> None:
    world = World()
    record, _ = run(world, rollout(auto=True, watch_s=1e9), most=14)
    assert world.served == ["new"]
    record, done = run(world, replace(record, breach="5 % errors"))
    assert (record.outcome, record.why) == (Outcome.ROLLED_BACK, "5 % errors")
    assert (world.served, world.active, world.made) == (["new", "old"], "c1", 2)
    assert "Delete" not in names(done), "the way forward stays warm"
    assert (world.spec, world.strategy, world.pending) == ("old", "NewCluster", "")


def test_a_release_that_breaks_is_taken_back_under_auto_and_waits_for_a_person_else() -> None:
    world = World(breaks=True)
    record, _ = run(world, rollout(auto=True))
    assert (record.outcome, world.served, set(world.clusters)) == (Outcome.ABORTED, [], {"c1"})
    world = World(breaks=True)
    record, _ = run(world, rollout())
    assert (record.running, world.active) == (True, "c1")
    record, _ = run(world, replace(record, wish=Wish(Verb.ABORT, "ada", "look at it")))
    assert (record.outcome, record.why, set(world.clusters)) == (Outcome.ABORTED, "ada: look at it", {"c1"})


def test_deploy_goes_straight_through_and_the_first_install_too() -> None:
    world = World()
    record, done = run(world, rollout(kind=Kind.DEPLOY))
    assert (record.outcome, world.served) == (Outcome.SERVES, ["new"])
    assert "Validate" not in names(done) and "Watch" not in names(done)
    world = World(spec="", active="", clusters={})
    record, _ = run(world, rollout(kind=Kind.DEPLOY, blue=Place()))
    assert (record.outcome, world.made) == (Outcome.SERVES, 2)


def test_a_change_in_place_is_done_when_it_is_applied() -> None:
    world = World()
    world.objects[2] = "old"
    record, done = run(world, rollout(green=Place(2, "old")))
    assert (record.outcome, names(done)) == (Outcome.SERVES, ["Apply", "Note", "Note", "Finish"])


@pytest.mark.parametrize("after", range(4))
def test_an_abort_of_a_change_in_place_takes_the_file_back_and_leaves_the_cluster(after: int) -> None:
    world = World()
    world.objects[2] = "old"
    record, done = run(world, rollout(green=Place(2, "old")), most=after)
    record, done = run(world, replace(record, wish=Wish(Verb.ABORT, "ada")))
    assert (record.outcome, set(world.clusters), world.active) == (Outcome.ABORTED, {"c1"}, "c1")
    assert [one.revision for one in done if isinstance(one, Apply)] == [1]
    assert (world.spec, world.strategy, world.made) == ("old", "NewCluster", 1)


def after_a_switch(**changes: object) -> tuple[World, Record]:
    """c2 serves ``new``, c1 is kept, and a warm rollback to it begins."""
    world = World()
    run(world, rollout(auto=True))
    for name, value in changes.items():
        setattr(world.clusters["c1"], name, value)
    return world, rollout(
        number=3, kind=Kind.ROLLBACK, warm=True, green=Place(1, "old", "c1"), blue=Place(2, "new", "c2")
    )


def test_a_warm_rollback_opens_a_gate_that_asks_anew() -> None:
    """As after a restart of its head, and a first install, which begins with a hold that nothing replaces."""
    world, back = after_a_switch(opened=False)
    world.decisions["old"] = Decision(Decided.HOLD)
    record, _ = run(world, back)
    assert (record.outcome, world.active, world.made) == (Outcome.SERVES, "c1", 2)


def test_a_warm_rollback_to_a_cluster_that_broke_can_be_aborted() -> None:
    world, back = after_a_switch(broken=True)
    record, _ = run(world, back, most=80)
    waits = machine.step(record, world.seen(), world.now)
    assert isinstance(waits, Wait) and "switchyard abort leaves it with c2" in waits.why
    record, done = run(world, replace(record, wish=Wish(Verb.ABORT, "ada")))
    assert (record.outcome, world.active, world.pending, world.spec) == (Outcome.ABORTED, "c2", "", "new")
    assert (set(world.clusters), world.strategy, world.made) == ({"c1", "c2"}, "NewCluster", 2)
    assert "Delete" not in names(done), "KubeRay ends it when its time has come"


def test_a_way_back_to_a_cluster_that_does_not_come_back_ends_with_what_serves() -> None:
    world = World()
    record, _ = run(world, rollout(auto=True, watch_s=1e9, start_s=30), most=14)
    world.clusters["c1"].broken = True
    record, _ = run(world, replace(record, breach="5 % errors"))
    assert (record.outcome, record.stuck) == (Outcome.SERVES, True)
    assert record.why == "it could not be taken back (5 % errors): c1 did not come back within 30 s"
    assert (world.active, world.pending, world.spec, world.strategy) == ("c2", "", "new", "NewCluster")


@pytest.mark.parametrize(("wish", "left"), [(ABORT, {"c1"}), (KEEP, {"c1", "c2"})])
def test_an_abort_after_a_switch_that_nobody_saw_frees_the_gpus_and_a_rollback_keeps_the_way_forward(
    wish: Wish, left: set[str]
) -> None:
    world = World()
    record, _ = run(world, rollout(auto=True), most=9)
    while not world.served:
        world.tick()
    assert "switched" not in record.times
    record, _ = run(world, replace(record, wish=wish))
    assert (record.outcome, set(world.clusters), world.active) == (Outcome.ROLLED_BACK, left, "c1")


def test_what_cannot_be_taken_back_since_blue_is_gone_serves_on_and_says_what_starts_the_other_anew() -> None:
    """KubeRay deletes a cluster at once that retires for the second time."""
    world = World()
    record, _ = run(world, rollout(auto=True, watch_s=1e9), most=14)
    del world.clusters["c1"]
    record, _ = run(world, replace(record, breach="5 % errors"))
    assert (record.outcome, record.stuck, world.spec, world.strategy) == (Outcome.SERVES, True, "new", "NewCluster")
    assert record.why == (
        "it could not be taken back (5 % errors): c1 is gone, on which release old served before; "
        "switchyard rollback starts that anew"
    )


def test_what_nobody_kept_the_objects_of_cannot_be_applied_again() -> None:
    """Somebody applied two releases with kubectl: one serves, the other waits at its gate."""
    world = World()
    world.spec = "other"
    world.tick()
    record, _ = run(world, rollout(blue=Place(0, "old", "c1")))
    record, _ = run(world, replace(record, wish=Wish(Verb.ABORT, "ada")))
    assert record.outcome is Outcome.FAILED and "nobody kept the objects of c1" in record.why
    assert world.active == "c1" and world.decisions["new"].verb is Decided.REFUSE


def test_a_release_that_is_late_is_told_as_failed() -> None:
    world = World(starts_in=999)
    record, _ = run(world, rollout(start_s=20))
    late = machine.step(record, world.seen(), world.now)
    assert isinstance(late, Wait) and late.phase == "failed" and "not ready after 20 s" in late.why


def test_a_warm_rollback_and_forward_again_make_no_cluster() -> None:
    world = World()
    record, _ = run(world, rollout(auto=True))
    back = rollout(number=3, kind=Kind.ROLLBACK, warm=True, green=Place(1, "old", "c1"), blue=Place(2, "new", "c2"))
    record, _ = run(world, back)
    assert (record.outcome, world.active, world.made) == (Outcome.SERVES, "c1", 2)
    forward = rollout(number=4, kind=Kind.ROLLBACK, warm=True, green=Place(2, "new", "c2"))
    record, _ = run(world, forward)
    assert (record.outcome, world.active, world.made) == (Outcome.SERVES, "c2", 2)
    assert (world.spec, world.strategy) == ("new", "NewCluster")


def test_a_rollback_whose_cluster_goes_away_meanwhile_is_a_cold_one() -> None:
    world = World()
    run(world, rollout(auto=True))
    del world.clusters["c1"]
    back = rollout(number=3, kind=Kind.ROLLBACK, warm=True, green=Place(1, "old", "c1"), blue=Place(2, "new", "c2"))
    record, done = run(world, back)
    assert (record.outcome, world.made, world.clusters[world.active].release) == (Outcome.SERVES, 3, "old")
    assert isinstance(done[0], steps.Note) and done[0].cold


def test_a_cold_rollback_that_does_not_come_up_can_be_aborted() -> None:
    world = World(starts_in=999, made=2)
    world.spec, world.active = "new", "c2"
    world.clusters = {"c2": Cluster("new", 99, True)}
    back = rollout(number=3, kind=Kind.ROLLBACK, green=Place(1, "old"), blue=Place(2, "new", "c2"))
    record, _ = run(world, back, most=20)
    assert record.running and world.pending and world.active == "c2"
    record, _ = run(world, replace(record, wish=Wish(Verb.ABORT, "ada", "no room")))
    assert (record.outcome, set(world.clusters), world.spec) == (Outcome.ABORTED, {"c2"}, "new")


def test_somebody_elses_release_ends_it() -> None:
    world = World()
    record, _ = run(world, rollout(), most=5)
    world.spec = "other"
    record, done = run(world, record)
    assert (record.outcome, names(done)) == (Outcome.FAILED, ["Finish"])


@settings(max_examples=400, deadline=None)
@given(
    cut=st.integers(0, 40),
    good=st.booleans(),
    breaks=st.booleans(),
    auto=st.booleans(),
    starts_in=st.integers(1, 6),
    away=st.integers(0, 5),
    gone=st.sampled_from(["", "c1", "c2"]),
)
def test_an_abort_at_any_step_leads_back_to_what_served_or_says_why_not(
    cut: int, good: bool, breaks: bool, auto: bool, starts_in: int, away: int, gone: str
) -> None:
    """The operator may be away for a while, and a cluster may vanish at that very step."""
    world = World(good=good, breaks=breaks, starts_in=starts_in)
    record, _ = run(world, rollout(auto=auto), most=cut)
    if not record.running:
        return
    world.clusters.pop(gone, None)
    world.operator = away == 0
    record = replace(record, wish=Wish(Verb.ABORT, "ada"))
    record, _ = run(world, record, most=away)
    world.operator = True
    record, done = run(world, record)
    assert isinstance(done[-1], Finish) if done else not record.running
    assert world.strategy == "NewCluster"
    if gone != "c1":
        assert record.outcome in (Outcome.ABORTED, Outcome.ROLLED_BACK)
        assert (world.active, world.pending, world.spec) == ("c1", "", "old")
        assert world.made <= 2 + (gone == "c2"), (
            "no third cluster, but for one that KubeRay made in place of a lost one"
        )
        for _ in range(20):
            world.tick()
        assert (world.active, world.pending) == ("c1", "")
    else:
        assert "gone" in record.why or record.outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("record", list(records())[::17], ids=lambda one: f"{one.kind.value}")
def test_a_record_survives_its_config_map(record: Record) -> None:
    assert from_json(to_json(record), wish_to_json(record.wish)) == record


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "rollout"}', '{"kind": "x", "green": {}}'])
def test_what_is_not_a_record_is_said_so(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)
