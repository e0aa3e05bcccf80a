"""What tokens cost: the formulas against numbers worked out by hand, what must always hold, and bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import switchyard
from bench import price_table
from bench.cost import Speed, Usage, at_use, break_even, curve, month, per_day, replicas_for, speed_of
from bench.errors import PriceError, ResultError
from bench.price_table import Api, Machine, Prices
from bench.records import to_line
from bench.statistics import Slo
from bench.tables import by_stage
from tests.test_bench_statistics import record

FAST = Speed(1000.0, 2.0, "by hand", True)
ON = Usage(rollouts=0, fixed=0.0)

speeds = st.builds(Speed, st.floats(1, 1e5), st.floats(0, 20), st.just("drawn"), st.booleans())
usages = st.builds(
    Usage, st.integers(1, 50), st.floats(24, 744), st.floats(0, 23), st.floats(0, 30), st.floats(0, 60),
    st.floats(0, 120), st.floats(0, 1000), st.floats(0.05, 1),
)  # fmt: skip
hourlies = st.floats(0.01, 100)
apis = st.builds(Api, st.just("api"), st.floats(0, 20), st.floats(0.01, 50))


def test_numbers_worked_out_by_hand() -> None:
    usage = Usage(2, 720, 12, rollouts=6, rollout_minutes=20, keep_old_minutes=40, fixed=100, most=0.5)
    paid = month(0.5, usage)
    assert (paid.running, paid.upgrades, paid.fixed) == (2 * 0.5 * 360, 2 * 0.5 * 6, 100)
    assert paid.total == 466
    half = at_use(FAST, 0.5, usage, 0.5)
    assert half.idle_hours == 360
    assert half.output_tokens == pytest.approx(1000 * 3600 * 2 * 360 * 0.5)
    assert half.per_million_output == pytest.approx(466 / 1296)
    assert half.per_million_total == pytest.approx(466 / 1296 / 3)
    assert per_day(FAST, usage, 2) == 1000 * 3600 * 12 * 0.5 * 2


def test_the_break_even_is_where_both_cost_the_same() -> None:
    even = break_even(Api("it", 0.1, 0.3), FAST, 0.5, ON)
    assert even.per_million == pytest.approx(0.5)
    assert even.tokens_a_day == pytest.approx(0.5 * 24 / 0.5 * 1e6)
    assert even.replicas == 1
    assert even.utilisation == pytest.approx(24e6 / (1000 * 86400))


def test_a_machine_dearer_than_what_its_tokens_fetch_never_pays() -> None:
    even = break_even(Api("cheap", 0, 0.01), FAST, 10.0, ON)
    assert (even.tokens_a_day, even.replicas) == (math.inf, 0)


def test_what_is_fixed_is_shared_by_more_replicas() -> None:
    """One machine saves 100 of its 73 USD a month, so 1000 fixed take 38 of them."""
    usage = Usage(rollouts=0, fixed=1000, most=1.0, hours=730)
    api = Api("it", 0, 100 / (per_day(FAST, usage, 1) * usage.days / 1e6))
    even = break_even(api, FAST, 0.1, usage)
    assert even.replicas == math.ceil(1000 / 27)


@given(speeds, hourlies, usages, st.floats(0.01, 1), st.floats(0.01, 1))
def test_tokens_get_cheaper_the_more_the_machines_are_used(
    speed: Speed, hourly: float, usage: Usage, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    less, more = at_use(speed, hourly, usage, low), at_use(speed, hourly, usage, high)
    assert more.per_million_output <= less.per_million_output * (1 + 1e-9)
    assert more.idle_hours <= less.idle_hours + 1e-9
    assert less.per_million_total <= less.per_million_output


@given(speeds, hourlies, usages)
def test_no_load_costs_idle_hours_only_and_as_much_as_any_load(speed: Speed, hourly: float, usage: Usage) -> None:
    nothing = at_use(speed, hourly, usage, 0)
    assert nothing.per_million_output == math.inf
    assert nothing.idle_hours == pytest.approx(usage.replicas * usage.hours_on)
    assert month(hourly, usage).running == pytest.approx(nothing.idle_hours * hourly)


@given(apis, speeds, hourlies, usages)
def test_beyond_the_break_even_own_machines_cost_less(api: Api, speed: Speed, hourly: float, usage: Usage) -> None:
    even = break_even(api, speed, hourly, usage)
    if even.replicas == 0:
        most = per_day(speed, usage, 10_000)
        assert month(hourly, usage, 10_000).total > most * usage.days / 1e6 * even.per_million * (1 - 1e-6)
        return
    assert even.replicas >= usage.replicas
    assert even.utilisation <= usage.most * (1 + 1e-6)
    theirs = even.tokens_a_day * usage.days / 1e6 * even.per_million
    assert month(hourly, usage, even.replicas).total == pytest.approx(theirs)
    fewer = even.replicas - 1
    if fewer >= usage.replicas:  # with one less, even a full day would have cost more
        room = per_day(speed, usage, fewer) * usage.days / 1e6 * even.per_million
        assert month(hourly, usage, fewer).total >= room * (1 - 1e-6)


@given(speeds, usages, st.lists(st.floats(0, 1e12), min_size=2, max_size=10))
def test_more_tokens_never_need_fewer_replicas(speed: Speed, usage: Usage, days: list[float]) -> None:
    days.sort()
    counts = [replicas_for(speed, usage, day) for day in days]
    assert counts == sorted(counts) and counts[0] >= usage.replicas
    costs = [cost for _, cost in curve(speed, 1.0, usage, days)]
    assert costs == sorted(costs)


@given(hourlies, usages, st.floats(0, 10))
def test_upgrades_cost_what_both_clusters_take(hourly: float, usage: Usage, more: float) -> None:
    from dataclasses import replace

    longer = replace(usage, keep_old_minutes=usage.keep_old_minutes + more)
    extra = month(hourly, longer).total - month(hourly, usage).total
    assert extra == pytest.approx(usage.replicas * hourly * usage.rollouts * more / 60, abs=1e-6)


def test_the_speed_is_that_of_the_quickest_stage_within_the_slo() -> None:
    quick = [record(n, ttft=2.0, sent=n / 10, at=n / 10, first=n / 10 + 2, ended=n / 10 + 2.1) for n in range(20)]
    slow = [record(n, round=1) for n in range(20)]
    stages = by_stage(quick + slow, ["quick", "slow"], Slo(ttft=0.5))
    assert "stage 'quick'" in speed_of(stages, "run", None, 1, 0.0).source
    kept = speed_of(stages, "run", None, 2, 0.9)
    assert "stage 'slow'" in kept.source
    assert kept.output_per_s == pytest.approx(stages["slow"].output_tokens_per_s / 2)
    assert kept.prompt_ratio == pytest.approx(10 / 3)
    with pytest.raises(ResultError, match="no stage 'other'; it has: quick, slow"):
        speed_of(stages, "run", "other", 1, 0.0)
    with pytest.raises(ResultError, match="In no stage of run did 90% of the requests"):
        speed_of({"quick": stages["quick"]}, "run", None, 1, 0.9)


GOOD: dict[str, Any] = {
    "date": "2026-11-22",
    "machines": {"m": {"on_demand": 1, "spot": 0.4, "gpus": 2}},
    "apis": [{"name": "a", "input": 0.1, "output": 0.2}],
}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "neither JSON nor YAML"),
        ("[]", "the file is a mapping"),
        (json.dumps({"machines": {}}), "no 'date'"),
        (json.dumps({"date": "x"}), "neither 'machines' nor 'apis'"),
        (json.dumps({**GOOD, "machine": 1}), "unknown key 'machine'"),
        (json.dumps({**GOOD, "machines": {"m": {"spot": "cheap"}}}), "machines.m.spot is 'cheap'"),
        (json.dumps({**GOOD, "machines": {"m": {"spot": -1}}}), "not negative"),
        (json.dumps({**GOOD, "machines": {"m": {}}}), "neither on_demand nor spot"),
        (json.dumps({**GOOD, "machines": {"m": {"price": 1}}}), "unknown key 'price'"),
        (json.dumps({**GOOD, "machines": {"m": 1}}), "machines.m is a mapping"),
        (json.dumps({**GOOD, "apis": {}}) .replace("{}", '{"a": 1}'), "'apis' is a list"),
        (json.dumps({**GOOD, "apis": [{"name": "a", "input": 1}]}), r"apis\[1\] has no 'output'"),
        ('{"date": "x", "machines": {"m": {"spot": NaN}}}', "machines.m.spot is nan"),
    ],
)  # fmt: skip
def test_a_broken_price_file_is_told_with_the_place(text: str, says: str) -> None:
    with pytest.raises(PriceError, match=says) as told:
        price_table.parse(text, "prices.json")
    assert str(told.value).startswith("prices.json: ")


def test_a_price_file_in_json_and_in_yaml() -> None:
    for text in (json.dumps(GOOD), "date: 2026-11-22\nmachines: {m: {on_demand: 1, spot: 0.4, gpus: 2}}\n"):
        assert price_table.parse(text, "p").machine("m") == Machine("m", 1.0, 0.4, 2)


def test_the_shipped_api_prices_are_dated_and_say_what_they_are() -> None:
    shipped = price_table.parse(price_table.SHIPPED_APIS.read_text(), "api_prices.json")
    assert len(shipped.apis) >= 3
    assert "2026" in shipped.apis_label and "not checked" in shipped.apis_label


def test_a_file_completes_what_was_handed_over() -> None:
    theirs = Prices("list", {"m": Machine("m", 2.0, None)}, 50.0, (Api("b", 1, 1),), "apis")
    own = Prices("own", {}, 0.0, (Api("a", 1, 1),), "mine")
    both = own.over(theirs)
    assert both.machine("m").on_demand == 2.0
    assert (both.label, both.fixed_per_month, both.apis_label) == ("list", 50.0, "mine")


def cost(*arguments: str | Path | float) -> Any:
    return CliRunner().invoke(switchyard.app, ["cost", *(str(argument) for argument in arguments)])


def test_a_measured_run_from_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "requests.jsonl").write_text("".join(to_line(record(n)) + "\n" for n in range(20)))
    page = tmp_path / "page" / "cost.html"
    done = cost(folder, "--machine", "g2-standard-4", "--off-hours", 12, "--replicas", 2, "--html", page, "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["measured"] is True
    assert set(found["offers"]) == {"on demand", "spot"}
    kinds = {line["name"]: line["kind"] for line in found["inputs"]}
    assert kinds["output tokens a second of a replica"] == "measured"
    assert kinds["g2-standard-4, USD an hour"] == "listed"
    assert kinds["replicas"] == kinds["API prices"] == kinds["highest mean utilisation"] == "assumed"
    offer = found["offers"]["on demand"]
    assert offer["month"]["running"] == pytest.approx(2 * offer["usd_per_hour"] * 365)
    assert offer["month"]["fixed"] > 0
    html = page.read_text()
    assert html.count("<svg") == 2 and "prefers-color-scheme: dark" in html
    assert "<script" not in html and "src=" not in html and "@import" not in html


def test_tables_for_people() -> None:
    done = cost("--tokens-per-second", 2000, "--machine", "g2-standard-4")
    assert done.exit_code == 0, done.output
    for part in ("assumed", "on demand", "spot", "cheaper than", "utilisation", "Left out"):
        assert part in done.stdout
    assert "measured" not in done.stdout.replace("as the one measured", "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "Give the folder of a run, or --tokens-per-second"),
        (("here", "--tokens-per-second", 5), 2, "not both"),
        (("--tokens-per-second", 5), 1, "Which machine"),
        (("--tokens-per-second", 5, "--machine", "z9-mega"), 1, "no price for the machine z9-mega"),
        (("--tokens-per-second", 5, "--hourly", 1, "--prices", "/not/there.json"), 1, "cannot be read"),
        (("/not/there", "--hourly", 1), 1, "There is no run in"),
        (("--tokens-per-second", 5, "--hourly", 1, "-o", "xml"), 2, "table or json"),
    ],
)
def test_bad_input(arguments: tuple[str | float, ...], code: int, says: str) -> None:
    done = cost(*map(str, arguments))
    assert done.exit_code == code
    assert says in done.stderr and "Traceback" not in done.output


def test_a_run_in_which_nothing_ended_well(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(to_line(record(error="broke", finish_reason=None)) + "\n")
    done = cost(tmp_path, "--hourly", "1")
    assert done.exit_code == 1 and "In no stage" in done.stderr
    (tmp_path / "requests.jsonl").write_text("")
    done = cost(tmp_path, "--hourly", "1")
    assert done.exit_code == 1 and "no request has ended" in done.stderr
