"""What is asked, and when: the same for the same seed, and traces with their mistakes told."""

from __future__ import annotations

import json
import math
from itertools import islice, pairwise

import pytest

from bench.errors import TargetError, WorkloadError
from bench.options import Load, headers, numbers, shown, slo, target, whole_numbers
from bench.trace import parse
from bench.workloads import Measure, Shape, closed, fixed, ladder, poisson, shape, shared_prefix

MEASURE = Measure(per_word=2.0, overhead=10.0)


def test_fixed_lengths_are_reached_in_the_services_own_tokens() -> None:
    requests = list(islice(fixed(Shape(64, 32), MEASURE), 20))
    assert {len(str(request.prompt).split()) for request in requests} == {27}  # 10 + 2 * 27 = 64
    assert {request.max_tokens for request in requests} == {32}
    assert all(request.ignore_eos for request in requests)
    assert [request.index for request in requests] == list(range(20))
    assert len({request.prompt for request in requests}) == 20


def test_a_prompt_shorter_than_the_template_is_one_word() -> None:
    assert MEASURE.count(3) == 1


def test_a_seed_decides_the_requests() -> None:
    first = [list(islice(fixed(Shape(8, 8), Measure(), seed), 3)) for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_shared_prefixes_are_shared_within_a_group_only() -> None:
    requests = list(islice(shared_prefix(Shape(100, 8), Measure(), groups=3, share=0.8), 60))
    prompts = [str(request.prompt).split() for request in requests]
    assert {len(prompt) for prompt in prompts} == {100}
    assert len({tuple(prompt[:80]) for prompt in prompts}) == 3
    assert len({tuple(prompt) for prompt in prompts}) == 60


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_at_the_ends_leave_a_word_of_ones_own(share: float) -> None:
    prompts = [str(r.prompt) for r in islice(shared_prefix(Shape(10, 1), Measure(), 1, share), 8)]
    assert {len(prompt.split()) for prompt in prompts} == {10}


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    stage = poisson(fixed(Shape(1, 1), Measure()), 50, 200, seed=3)
    times = [request.at for request in stage.requests]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times) and times[0] >= 0 and times[-1] < 200
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation / mean == pytest.approx(1, abs=0.05)  # of an exponential distribution


def test_a_ladder_numbers_its_steps() -> None:
    stages = ladder(fixed(Shape(1, 1), Measure()), [5, 20], 4)
    assert [stage.name for stage in stages] == ["5/s", "20/s"]
    assert [{request.round for request in stage.requests} for stage in stages] == [{0}, {1}]
    indices = [request.index for stage in stages for request in stage.requests]
    assert len(set(indices)) == len(indices)


def test_a_rate_so_low_that_nothing_came_sends_one() -> None:
    assert len(poisson(fixed(Shape(1, 1), Measure()), 0.001, 1).requests) == 1


def test_rates_that_cannot_be() -> None:
    with pytest.raises(WorkloadError, match="cannot be made"):
        poisson(fixed(Shape(1, 1), Measure()), 1e6, 1e6)


def test_a_closed_stage() -> None:
    stage = closed(fixed(Shape(1, 1), Measure()), 4, 9)
    assert (len(stage.requests), stage.concurrency, stage.rate) == (9, 4, None)


@pytest.mark.parametrize("text", ["64", "64/", "a/b", "0/5", "1/2/3", "-1/4", "64/1e9"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(WorkloadError, match="no shape"):
        shape(text)
    assert str(shape("64/128")) == "64/128"


def line(**fields: object) -> str:
    return json.dumps(fields)


def test_a_trace_keeps_its_times_and_texts() -> None:
    lines = [
        line(at=5.0, prompt="b", max_tokens=2),
        "",
        line(timestamp=3000, input_length=30, output_length=7, hash_ids=[1]),
        line(at=9, messages=[{"role": "user", "content": "hi"}], max_tokens=3, temperature=0.5),
    ]
    stage = parse(lines, "t.jsonl", MEASURE, speed=2.0)
    assert [request.at for request in stage.requests] == [0.0, 1.0, 3.0]
    assert [request.index for request in stage.requests] == [0, 1, 2]
    lengths, text, chat = stage.requests
    assert (len(str(lengths.prompt).split()), lengths.max_tokens, lengths.ignore_eos) == (10, 7, True)
    assert (text.prompt, text.ignore_eos, text.temperature) == ("b", False, 0.0)
    assert chat.messages == ({"role": "user", "content": "hi"},) and chat.temperature == 0.5


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        (line(at=0, prompt="x"), "no 'max_tokens'"),
        (line(prompt="x", max_tokens=1), "no 'at'"),
        (line(at=0, max_tokens=1), "exactly one of"),
        (line(at=0, prompt="x", messages=[], max_tokens=1), "exactly one of"),
        (line(at="0", prompt="x", max_tokens=1), "'at' is a number"),
        (line(at=-1, prompt="x", max_tokens=1), "'at' is a number that is not negative"),
        ('{"at": NaN, "prompt": "x", "max_tokens": 1}', "'at' is a number"),
        (line(at=0, prompt="", max_tokens=1), "'prompt' is a text"),
        (line(at=0, prompt="x", max_tokens=0), "'max_tokens' is a whole number from 1, not 0"),
        (line(at=0, prompt="x", max_tokens=True), "'max_tokens' is a whole number"),
        (line(at=0, messages=["x"], max_tokens=1), "'messages' is a list of objects"),
        (line(at=0, messages=[], max_tokens=1), "at least one message"),
        (line(at=0, prompt="x", max_token=1), "unknown key 'max_token'"),
    ],
)
def test_a_broken_line_is_told_with_its_number(broken: str, says: str) -> None:
    good = line(at=0, prompt="x", max_tokens=1)
    with pytest.raises(WorkloadError, match="Nothing was sent") as told:
        parse([good, "", broken], "t.jsonl", Measure())
    assert str(told.value).startswith("t.jsonl:3: ")
    assert says in str(told.value)


def test_many_broken_lines_are_counted_and_an_empty_trace_is_told() -> None:
    with pytest.raises(WorkloadError, match=r"and 3 more lines"):
        parse(["{"] * 8, "t.jsonl", Measure())
    with pytest.raises(WorkloadError, match="no requests in it"):
        parse(["", " "], "t.jsonl", Measure())


def test_options() -> None:
    assert numbers("1,2.5", "rate") == (1.0, 2.5)
    assert whole_numbers("1,8", "concurrency") == (1, 8)
    assert slo(["ttft:500", "e2e:2000"]).ttft == 0.5
    assert headers(["A: b:c", "x-y:z"]) == {"A": "b:c", "x-y": "z"}
    assert shown("http://user:pw@host:1/x") == "http://host:1/x"


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1,,2", "nan", "inf"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(WorkloadError, match="--rate"):
        numbers(text, "rate")


def test_options_that_are_none() -> None:
    with pytest.raises(WorkloadError, match="whole numbers"):
        whole_numbers("1.5", "concurrency")
    with pytest.raises(WorkloadError, match="--slo itl:5"):
        slo(["itl:5"])
    with pytest.raises(TargetError, match=r"the 2\. one") as told:
        headers(["a: b", "sk-secret"])
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://[", "", "http://x:99999"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(TargetError, match="no address of a service"):
        target(url, "chat", "it", None, {})


def test_an_api_that_is_none_and_a_password_that_is_not_repeated() -> None:
    with pytest.raises(TargetError, match="generate, completions, chat"):
        target("http://x", "responses", "it", None, {})
    with pytest.raises(TargetError) as told:
        target("ftp://me:secret@x", "chat", "it", None, {})
    assert "secret" not in str(told.value)


def test_a_load_of_several_stages_takes_new_requests_for_each() -> None:
    load = Load("random", Shape(8, 4), (2, 32))
    first, second = load.stages(Measure())
    assert (len(first.requests), len(second.requests)) == (64, 256)
    assert second.requests[0].index == 64
    assert {request.round for request in second.requests} == {1}
    assert load.about() == {"workload": "random", "shape": "8/4", "concurrency": [2, 32], "seed": 0}
