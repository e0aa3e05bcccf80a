"""Every request accounted for: what became of it, what it spanned, and what is kept where there are too many."""

from __future__ import annotations

import base64
import math
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import GIVEN_UP
from bench.records import Record as Request
from kuberay.rollout.proof.account import account, moves
from kuberay.rollout.proof.trips import Load, Outcome, Trip, pack, trip, unpack
from kuberay.rollout.record import Kind, Place, Record
from kuberay.rollout.record import Outcome as Ended

T0 = 1_800_000_000.0


def at(seconds: float) -> str:
    return datetime.fromtimestamp(T0 + seconds, UTC).isoformat(timespec="milliseconds")


def record(**change: Any) -> Record:
    times = {"applied": at(0), "approved": at(195), "switched": at(200), "ended": at(500)}
    made = Record(2, "llm", Kind.ROLLOUT, Place(2, "green", "c2"), Place(1, "blue", "c1"), times=times)
    return replace(made, **({"outcome": Ended.SERVES} | change))


def one(sent: float, took: float = 2.0, release: str = "blue", **change: Any) -> Trip:
    base = Trip(T0 + sent, T0 + sent + took, Outcome.FINISHED, release, ttft=0.1, pause=0.02)
    return replace(base, **change)


DROPPED = {"outcome": Outcome.DROPPED, "error": "the connection broke", "ttft": None}


def request(**change: Any) -> Request:
    values: dict[str, Any] = {
        "index": 0, "target": "x", "at": T0, "sent": T0, "first": T0 + 0.5, "gaps": (0.1, 0.4), "ended": T0 + 1,
        "status": 200, "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 3, "served_by": "blue",
    }  # fmt: skip
    return Request(**(values | change))


@pytest.mark.parametrize(
    "change, outcome",
    [
        ({}, Outcome.FINISHED),
        ({"finish_reason": None}, Outcome.DROPPED),
        ({"finish_reason": None, "error": "the connection broke"}, Outcome.DROPPED),
        ({"error": "an error event", "finish_reason": "stop"}, Outcome.DROPPED),
        ({"status": 503, "error": "HTTP 503", "retry_after": "1"}, Outcome.REFUSED),
        ({"status": 429, "error": "HTTP 429", "retry_after": "1"}, Outcome.REFUSED),
        ({"status": 503, "error": "HTTP 503"}, Outcome.DROPPED),
        ({"status": 500, "error": "HTTP 500", "retry_after": "1"}, Outcome.DROPPED),
        ({"status": 0, "error": "no connection"}, Outcome.DROPPED),
        ({"finish_reason": None, "error": GIVEN_UP}, Outcome.GIVEN_UP),
    ],
)
def test_what_becomes_of_a_request(change: dict[str, Any], outcome: Outcome) -> None:
    found = trip(request(**change))
    assert found.outcome is outcome
    assert bool(found.error) is (outcome is not Outcome.FINISHED)
    assert (found.pause, found.release) == (0.4, "blue")
    assert found.ttft == pytest.approx(0.5)


def test_every_request_is_in_the_account() -> None:
    trips = [
        *(one(second) for second in range(150, 198)),
        one(140, took=90),  # a long one, which blue finishes after the switch
        one(198.5, release="", **DROPPED, took=3),
        *(one(second, release="green", ttft=0.12) for second in range(199, 290)),
        one(201, outcome=Outcome.REFUSED, release="", error="HTTP 503", ttft=None),
        one(290, outcome=Outcome.GIVEN_UP, release="green", error=GIVEN_UP),
    ]
    found = account(trips, record())
    (crossing,) = found.crossings
    assert (found.sent, found.finished, found.dropped, found.refused, found.given_up) == (143, 140, 1, 1, 1)
    assert found.by_release["blue"] == {"finished": 49}
    assert found.by_release["green"] == {"finished": 91, "given up": 1}
    assert found.longest_s == pytest.approx(90)
    assert crossing.spanning == {"blue": 1, "": 1, "green": 1}
    assert (crossing.spanning_dropped, crossing.spanning_longest_s) == (1, pytest.approx(90))
    assert crossing.first_new_s == pytest.approx(4)
    assert (crossing.before_p99_s, crossing.after_p99_s) == (pytest.approx(0.1), pytest.approx(0.12))
    assert (crossing.before_count, crossing.after_count) == (49, 61)
    assert crossing.ratio == pytest.approx(1.2)
    assert found.sentence == (
        "1 of 143 requests dropped, 1 refused with Retry-After, 1 given up when the command was ended; "
        "3 spanned the switch, 1 of them dropped; the longest took 90.0 s."
    )


def test_a_service_that_does_not_say_who_answers_is_judged_by_the_clock() -> None:
    trips = [one(second, release="", ttft=0.1 if second < 200 else 0.3) for second in range(150, 250)]
    (crossing,) = account(trips, record()).crossings
    assert (crossing.before_count, crossing.after_count) == (50, 49)
    assert crossing.ratio == pytest.approx(3)


def test_there_and_back_are_two_crossings() -> None:
    there_and_back = record(
        outcome=Ended.ROLLED_BACK,
        times={"approved": at(195), "switched": at(200), "back": at(300), "ended": at(310)},
    )
    trips = [one(s, release="green" if 199 < s < 308 else "blue", took=4) for s in range(100, 400)]
    there, back = account(trips, there_and_back).crossings
    assert [(move.name, move.old, move.new) for move in moves(there_and_back)] == [
        ("switch", "blue", "green"),
        ("back", "green", "blue"),
    ]
    assert there.first_new_s == pytest.approx(5) and back.first_new_s == pytest.approx(8)
    assert sum(back.spanning.values()) == 3
    assert "3 spanned the switch; 3 spanned the way back" in account(trips, there_and_back).sentence


def test_a_way_back_counts_from_its_decision_though_blue_was_asked_all_along() -> None:
    """As in a canary, and by clients that keep a connection to blue."""
    canary = record(
        outcome=Ended.ROLLED_BACK,
        times={"approved": at(290), "canary-10": at(300), "back": at(420), "returned": at(425), "ended": at(440)},
    )
    trips = [one(float(n), release="green" if 300 <= n < 424 and n % 10 == 0 else "blue") for n in range(500)]
    (back,) = account(trips, canary).crossings
    assert back.move.name == "back" and back.first_new_s == pytest.approx(1)
    assert back.before_count > 0 and back.after_count > 0


def test_a_password_in_an_address_is_in_no_trip() -> None:
    told = trip(request(status=0, finish_reason=None, error="no connection to http://alice:s3cret@llm.test: refused"))
    assert "s3cret" not in told.error and "llm.test: refused" in told.error


def test_a_warm_rollback_has_its_move_at_its_end_and_an_abort_has_none() -> None:
    warm = record(kind=Kind.ROLLBACK, times={"reverted": at(10), "ended": at(18)})
    assert [(move.at - T0, move.decided - T0) for move in moves(warm)] == [(18, 10)]
    assert moves(record(outcome=Ended.ABORTED, times={"applied": at(0), "back": at(5), "ended": at(20)})) == []


def test_without_requests_it_says_how_to_send_some() -> None:
    found = account([], record())
    assert found.sentence.startswith("No requests are kept: with --load N")
    assert math.isnan(found.longest_s) and found.to_json()["longest_s"] is None
    assert found.to_json()["crossings"][0]["ratio"] is None


def many(count: int, failures: int = 0) -> list[Trip]:
    chance = random.Random(0)
    found = [
        one(chance.uniform(0, 3600), chance.uniform(1, 9), chance.choice(["blue", "green"]), ttft=chance.random())
        for _ in range(count)
    ]
    bad = [one(chance.uniform(0, 3600), 0.1, "", **DROPPED) for _ in range(failures)]
    return sorted([*found, *bad], key=lambda each: each.sent)


def test_what_is_kept_is_what_was_sent() -> None:
    load = Load("host-1", "through the API server", 8, tuple(many(500, 20)))
    back = unpack(pack(load, [T0 + 200], 300 * 1024))
    assert replace(back, trips=()) == replace(load, trips=())
    assert [(each.outcome, each.release, each.error) for each in back.trips] == [
        (each.outcome, each.release, each.error) for each in load.trips
    ]
    for kept, sent in zip(back.trips, load.trips, strict=True):
        assert (kept.sent, kept.ended) == (pytest.approx(sent.sent, abs=2e-3), pytest.approx(sent.ended, abs=3e-3))
        assert kept.ttft == (None if sent.ttft is None else pytest.approx(sent.ttft, abs=1e-3))


@pytest.mark.parametrize("count, failures, most", [(60_000, 300, 100_000), (60_000, 300, 24_000), (9, 90_000, 9_000)])
def test_what_is_too_much_is_thinned_out_but_no_count_changes(count: int, failures: int, most: int) -> None:
    trips = many(count, failures)
    text = pack(Load("h", "w", 64, tuple(trips)), [T0 + 200], most)
    kept = unpack(text).trips
    assert len(text) <= most
    full, thin = account(trips, record()), account(kept, record())
    assert (thin.sent, thin.dropped, thin.by_release) == (full.sent, full.dropped, full.by_release)
    assert thin.longest_s == pytest.approx(full.longest_s, abs=2e-3)
    if failures < 1000:
        assert sum(each.outcome is Outcome.DROPPED for each in kept) == failures
        assert thin.crossings[0].spanning == full.crossings[0].spanning


def test_a_load_that_was_changed_is_no_load() -> None:
    packed = bytearray(base64.b64decode(pack(Load("h", "w", 1, (one(1),)), [], 10_000)))
    packed[12] ^= 0xFF
    with pytest.raises(ValueError, match="not a proof load"):
        unpack(base64.b64encode(bytes(packed)).decode())


@given(st.text(max_size=40))
def test_what_is_no_load_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)


trips_of_any_kind = st.builds(
    Trip,
    sent=st.floats(T0 - 100, T0 + 900),
    ended=st.floats(T0 + 900, T0 + 1000),
    outcome=st.sampled_from(Outcome),
    release=st.sampled_from(["", "blue", "green"]),
    ttft=st.none() | st.floats(0, 100),
)


@given(
    st.lists(trips_of_any_kind, max_size=60),
    st.sampled_from([record(), record(times={}), record(times={"ended": at(3)})]),
)
def test_the_sums_always_agree(trips: list[Trip], of: Record) -> None:
    found = account(trips, of)
    assert found.sent == found.finished + found.dropped + found.refused + found.given_up == len(trips)
    counted = Counter[str]()
    for counts in found.by_release.values():
        counted.update(counts)
    assert counted["dropped"] == found.dropped and counted["finished"] == found.finished
    assert all(sum(crossing.spanning.values()) <= found.sent for crossing in found.crossings)
