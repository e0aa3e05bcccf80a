"""Revisions with everything that a report shows, as a cluster keeps them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kuberay.manifests.manifest import objects, release_of
from kuberay.manifests.rayservice import Json
from kuberay.rollout.proof.between import Side
from kuberay.rollout.proof.story import Story, tell
from kuberay.rollout.proof.trips import Load, Trip, pack
from kuberay.rollout.proof.trips import Outcome as Became
from kuberay.rollout.record import Kind, Outcome, Place, Record, Verb, Wish, to_json, wish_to_json
from kuberay.rollout.validation.verdict import Finding, Verdict
from kuberay.rollout.validation.verdict import Kind as Relation
from kuberay.rollout.validation.verdict import Outcome as Found
from tests.services import service

T0 = 1_800_000_000.0
OLD = service({"scaling": {"max_replicas": 2}})
NEW = service({"model": {"max_model_len": 8192}, "kubernetes": {"image": "registry.test/switchyard:1.1"}})
BLUE, GREEN = release_of(OLD).id, release_of(NEW).id


def at(seconds: float) -> str:
    return datetime.fromtimestamp(T0 + seconds, UTC).isoformat(timespec="milliseconds")


def record(**change: Any) -> Record:
    times = {
        "applied": at(0.4), "held": at(74), "validated": at(132), "approved": at(190.1), "switched": at(196.6),
        "ended": at(497),
    }  # fmt: skip
    made = Record(
        2, "llm", Kind.ROLLOUT, Place(2, GREEN, "llm-kx8vq"), Place(1, BLUE, "llm-7dq2p"), by="ada@laptop",
        began=at(0), verdict="pass", times=times, outcome=Outcome.SERVES, why="it serves",
        wish=Wish(Verb.PROMOTE, "grace@desk", "answers were read by two people"),
    )  # fmt: skip
    return replace(made, **change)


def verdict(passed: bool = True) -> Verdict:
    figures: dict[str, float | str] = {"ttft_ratio_p50": 1.04, "ttft_ratio_high": 1.11, "release": GREEN}
    findings = (
        Finding("contract", Found.PASS, "All 14 routes answer as agreed."),
        Finding("latency", Found.PASS if passed else Found.FAIL, "Time to first token: 1.04 times blue's.", figures),
        Finding("replay", Found.SKIPPED, "Skipped: no path"),
    )
    return Verdict(passed, GREEN, BLUE, Relation.SAME_MODEL, at(132), findings, 58.2)


def traffic(streams: int, seconds: float, moved: list[tuple[float, str]], dropped: int = 0) -> tuple[Trip, ...]:
    """Closed-loop streams; who serves by when. One in twenty is long. Some break off just after the last move."""
    chance, found = random.Random(7), list[Trip]()
    for _ in range(streams):
        now = chance.uniform(0, 1)
        while now < seconds:
            release = next(name for since, name in reversed(moved) if now >= since)
            took = chance.uniform(60, 90) if chance.random() < 0.04 else chance.uniform(1.5, 5)
            ttft = chance.lognormvariate(-2.2, 0.4)
            found.append(Trip(T0 + now, T0 + now + took, Became.FINISHED, release, ttft, 0.05))
            now += took
    spanning = [place for place, one in enumerate(found) if one.sent - T0 < moved[-1][0] < one.ended - T0]
    for place in spanning[:dropped]:
        one = found[place]
        ended = T0 + moved[-1][0] + 0.4
        found[place] = Trip(one.sent, ended, Became.DROPPED, "", None, 0, "the connection broke: reset by peer")
    return tuple(sorted(found, key=lambda one: one.sent))


def load(trips: tuple[Trip, ...], streams: int = 24) -> Load:
    return Load("laptop-4711-1800000000", "through the API server to Service/llm-serve-svc", streams, trips)


def side(of: Any, number: int) -> Side:
    return Side(number, release_of(of).id, tuple(objects(of)))


def story(of: Record, loads: list[Load], judged: Verdict | None = None, old: Side | None = None) -> Story:
    data = {"verdict.json": json.dumps(judged.to_json())} if judged else {}
    return tell(of, data, loads, side(OLD, 1) if old is None else old, side(NEW, 2))


def switch() -> Story:
    """Everything went well."""
    return story(record(), [load(traffic(24, 500, [(0, BLUE), (195.2, GREEN)]))], verdict())


def back() -> Story:
    """It was rolled back, and three requests were dropped."""
    times = {**record().times, "breached": at(260), "back": at(260.2), "reverted": at(261), "ended": at(271)}
    why = "p99 of the time to the first token is 3.1 times what it was"
    of = record(outcome=Outcome.ROLLED_BACK, why=why, back=why, breach=why, times=times, auto=True, wish=Wish())
    trips = traffic(24, 275, [(0, BLUE), (195.2, GREEN), (268, BLUE)], dropped=3)
    return story(of, [load(trips)], verdict())


def bare() -> Story:
    """Aborted after a bad verdict; nobody sent anything."""
    times = {"applied": at(0.4), "held": at(74), "validated": at(132), "back": at(133), "ended": at(150)}
    of = record(outcome=Outcome.ABORTED, why="the verdict is bad", verdict="fail", times=times, wish=Wish())
    return story(of, [], verdict(passed=False))


def told() -> dict[str, Story]:
    return {"switch": switch(), "back": back(), "bare": bare()}


def config_map(number: int, data: dict[str, str]) -> Json:
    """As the cluster keeps it."""
    labels = {"app.kubernetes.io/instance": "llm", "switchyard.dev/revision": str(number)}
    about = {"name": f"llm-revision-{number}", "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}


def kept() -> list[Json]:
    """The ConfigMaps of two revisions, the second with a load and a verdict."""
    first = Record(1, "llm", Kind.DEPLOY, Place(1, BLUE, "llm-7dq2p"), began=at(-900), outcome=Outcome.SERVES)
    second, sent = record(), load(traffic(8, 500, [(0, BLUE), (195.2, GREEN)]), 8)
    return [
        config_map(1, {"record.json": to_json(first), "objects.json": json.dumps(objects(OLD))}),
        config_map(
            2,
            {
                "record.json": to_json(second),
                "wish.json": wish_to_json(second.wish),
                "objects.json": json.dumps(objects(NEW)),
                "verdict.json": json.dumps(verdict().to_json()),
                f"load-{sent.source}": pack(sent, [T0 + 196.6], 300_000),
            },
        ),
    ]
