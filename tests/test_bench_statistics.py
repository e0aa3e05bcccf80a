from __future__ import annotations

import math
import random
from typing import Any

import pytest

from bench.errors import ResultError
from bench.records import Record, from_line, read, to_line
from bench.statistics import (
    MEDIAN,
    UNKNOWN,
    Interval,
    Percentile,
    Slo,
    answers,
    bootstrap_ratio,
    bootstrap_rounds,
    percentile,
    summary,
    verdict,
)


def record(index: int = 0, ttft: float = 0.1, gaps: tuple[float, ...] = (0.02, 0.04), **fields: Any) -> Record:
    """One that ended well: sent when it was due, a second after the one before."""
    made: dict[str, Any] = {
        "target": "it", "at": float(index), "sent": float(index), "first": index + ttft, "gaps": gaps,
        "ended": index + ttft + sum(gaps), "status": 200, "finish_reason": "length", "prompt_tokens": 10,
        "completion_tokens": len(gaps) + 1, "text": "abc", **fields,
    }  # fmt: skip
    return Record(index=index, **made)  # type: ignore[arg-type]


def test_what_a_record_derives() -> None:
    one = record(ttft=0.1, gaps=(0.02, 0.04), sent=0.5, first=0.6, ended=0.66)
    assert one.ttft == pytest.approx(0.1)
    assert one.tpot == pytest.approx(0.03)
    assert one.e2e == pytest.approx(0.16)
    assert one.lag == pytest.approx(0.5)
    assert one.itl == [0.02, 0.04]
    assert record(gaps=()).tpot is None
    assert record(first=None).ttft is None


@pytest.mark.parametrize("fields", [{"finish_reason": None}, {"error": "broke"}])
def test_what_has_failed(fields: dict[str, Any]) -> None:
    assert not record(**fields).ok
    assert record().ok


def test_records_survive_being_written() -> None:
    full = record(text="é\n\u2028", tokens=("a", "b"), logprobs=(-0.5, -1.0), served_by="r", round=2, error="x")
    bare = record(first=None, gaps=(), finish_reason=None, text="", prompt_tokens=0, completion_tokens=0)
    assert [from_line(to_line(each)) for each in (full, bare)] == [full, bare]
    assert "\n" not in to_line(full)


def test_a_broken_last_line_is_left_out_and_any_other_is_told() -> None:
    lines = [to_line(record(0)), to_line(record(1)), to_line(record(2))[:40]]
    assert [r.index for r in read(lines, "run.jsonl")] == [0, 1]
    with pytest.raises(ResultError, match=r"run.jsonl:2: not a record of a request \(no 'index'\)"):
        read([lines[0], "{}", lines[1]], "run.jsonl")
    with pytest.raises(ResultError, match=r"run.jsonl:1: "):
        read(["<html>"], "run.jsonl")
    assert read([], "run.jsonl") == []


@pytest.mark.parametrize(
    "line", ["[]", "{", '{"index": 1}', to_line(record()).replace("200", "200").replace("0.1", '"x"')]
)
def test_what_is_no_record(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_line(line)


def test_percentiles() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, q) for q in (0, 50, 100)] == [1.0, 2.5, 4.0]
    assert percentile(values, 90) == pytest.approx(3.7)
    assert math.isnan(percentile([], 50))


def test_a_summary_counts_failures_but_not_their_times() -> None:
    good = [record(i, ttft=0.1 * (i + 1)) for i in range(4)]
    found = summary(
        [*good, record(4, ttft=9, finish_reason=None, error="broke"), record(5, error="broke")], Slo(ttft=0.25)
    )
    assert (found.requests, found.failed, found.errors) == (6, 2, {"broke": 2})
    assert found.duration == pytest.approx(4 + 9 + 0.06)
    assert found.ttft.p50 == pytest.approx(0.25)
    assert found.ttft.count == 4
    assert found.itl.count == 8
    assert found.requests_per_s == pytest.approx(4 / found.duration)
    assert found.output_tokens_per_s == pytest.approx(12 / found.duration)
    assert found.total_tokens_per_s == pytest.approx(52 / found.duration)
    assert found.good_share == pytest.approx(2 / 6)
    assert found.goodput_per_s == pytest.approx(2 / found.duration)


def test_a_summary_of_nothing() -> None:
    found = summary([])
    assert (found.requests, found.requests_per_s) == (0, 0.0)
    assert math.isnan(found.ttft.p50)


@pytest.mark.parametrize(
    ("slo", "kept"),
    [
        (Slo(), True), (Slo(ttft=0.1001, tpot=0.0301, e2e=0.1601), True),
        (Slo(ttft=0.09), False), (Slo(tpot=0.02), False), (Slo(e2e=0.1), False),
    ],
)  # fmt: skip
def test_an_slo(slo: Slo, kept: bool) -> None:
    assert slo.kept(record()) is kept
    assert not slo.kept(record(error="broke"))


def test_one_token_keeps_any_time_per_further_token() -> None:
    assert Slo(tpot=0.001).kept(record(gaps=()))


NONE = "no difference shown"


def drawn(seed: int, count: int, scale: float = 1.0) -> list[float]:
    chance = random.Random(seed)
    return [scale * chance.lognormvariate(0, 0.3) for _ in range(count)]


@pytest.mark.parametrize("statistic", [MEDIAN, Percentile(90), lambda values: sum(values) / len(values)])
def test_a_bootstrap_covers_the_truth_as_often_as_it_says(statistic) -> None:
    """The same distribution on both sides: the true ratio is 1."""
    intervals = [bootstrap_ratio(drawn(s, 30), drawn(s + 1000, 30), statistic, seed=s) for s in range(40)]
    covering = sum(i.low <= 1 <= i.high for i in intervals) / len(intervals)
    assert 0.86 <= covering <= 1.0
    assert all(i.low <= i.mid <= i.high for i in intervals)


def test_the_quick_bootstrap_of_a_percentile_is_the_slow_one() -> None:
    a, b = drawn(1, 80), drawn(2, 80, 1.3)
    quick = bootstrap_ratio(a, b, Percentile(75))
    slow = bootstrap_ratio(a, b, lambda values: percentile(values, 75))
    assert quick.mid == slow.mid
    assert quick.low == pytest.approx(slow.low, rel=0.02)
    assert quick.high == pytest.approx(slow.high, rel=0.02)


def test_a_bootstrap_sees_a_difference_and_repeats_itself() -> None:
    a, b = drawn(1, 300), drawn(2, 300, 1.3)
    found = bootstrap_ratio(a, b, MEDIAN)
    assert verdict(found) == "worse"
    assert verdict(bootstrap_ratio(b, a, MEDIAN)) == "better"
    assert bootstrap_ratio(a, b, MEDIAN) == found
    assert bootstrap_ratio(a, b, MEDIAN, seed=1) != found
    wide = bootstrap_ratio(a, b, MEDIAN, confidence=0.999)
    assert wide.low < found.low < found.high < wide.high


def test_rounds_that_disagree_show_no_difference() -> None:
    """Each round for itself is clear; which way it goes changes from one to the next."""
    a = [drawn(i, 100) for i in range(6)]
    swinging = [drawn(i + 50, 100, 2.0 if i % 2 else 0.5) for i in range(6)]
    steady = [drawn(i + 50, 100, 1.2) for i in range(6)]
    assert verdict(bootstrap_rounds(a, swinging, MEDIAN)) == "no difference shown"
    assert verdict(bootstrap_rounds(a, steady, MEDIAN)) == "worse"


def test_noise_that_hits_both_sides_of_a_round_cancels() -> None:
    weather = [1.0, 3.0, 0.5, 2.0, 5.0]
    a = [drawn(i, 200, scale) for i, scale in enumerate(weather)]
    b = [drawn(i + 50, 200, scale * 1.3) for i, scale in enumerate(weather)]
    found = bootstrap_rounds(a, b, MEDIAN)
    assert found.mid == pytest.approx(1.3, rel=0.08)
    assert verdict(found) == "worse"
    flat = bootstrap_ratio([x for r in a for x in r], [x for r in b for x in r], MEDIAN)
    assert found.high - found.low < flat.high - flat.low


def test_intervals_of_few_rounds_cover_the_truth() -> None:
    """Three rounds, each with weather of its own on each side: the hard case for a bootstrap."""
    covering = 0
    for s in range(40):
        chance = random.Random(s)
        a = [drawn(s * 10 + i, 30, chance.lognormvariate(0, 0.2)) for i in range(3)]
        b = [drawn(s * 10 + i + 5, 30, chance.lognormvariate(0, 0.2)) for i in range(3)]
        found = bootstrap_rounds(a, b, MEDIAN)
        covering += found.low <= 1 <= found.high
    assert covering >= 36


def test_nothing_is_known_of_nothing() -> None:
    assert bootstrap_ratio([], [1.0], MEDIAN) is UNKNOWN
    assert bootstrap_rounds([[1.0], []], [[1.0], [1.0]], MEDIAN) is UNKNOWN
    assert verdict(UNKNOWN) == "no difference shown"


@pytest.mark.parametrize(
    ("low", "high", "limit", "higher_is_better", "expected"),
    [
        (1.01, 1.2, 1.0, False, "worse"), (1.01, 1.2, 1.0, True, "better"), (1.01, 1.2, 1.05, False, NONE),
        (0.7, 0.9, 1.0, False, "better"), (0.7, 0.9, 1.0, True, "worse"), (0.7, 0.96, 1.05, False, NONE),
        (0.9, 1.1, 1.0, False, NONE), (1.0, 1.1, 1.0, False, NONE),
    ],
)  # fmt: skip
def test_verdicts(low: float, high: float, limit: float, higher_is_better: bool, expected: str) -> None:
    assert verdict(Interval(low, (low + high) / 2, high), limit, higher_is_better) == expected


def test_a_limit_below_one_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        verdict(UNKNOWN, 0.9)


def test_answers_are_compared_by_their_requests() -> None:
    a = [record(0, text="abcd"), record(1, text="same"), record(2, text="lost"), record(3, error="broke")]
    b = [record(2, error="broke"), record(1, text="same"), record(0, text="abXd", completion_tokens=9), record(3)]
    found = answers(a, b)
    assert (found.pairs, found.exact, found.common_prefix) == (2, 0.5, 0.75)
    assert found.length_ratio == pytest.approx((3 + 9) / (3 + 3))
    assert found.logprob_difference is None


def test_log_probabilities_are_compared_as_far_as_the_tokens_agree() -> None:
    a = [record(tokens=("a", "b", "c"), logprobs=(-1.0, -2.0, -3.0))]
    b = [record(tokens=("a", "b", "X"), logprobs=(-1.5, -2.0, -9.0))]
    assert answers(a, b).logprob_difference == pytest.approx(0.25)
    assert answers(a, [record(1)]).pairs == 0
    assert math.isnan(answers([], []).exact)
