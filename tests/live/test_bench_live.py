"""The bench against a real service: all three APIs, token by token, and one service compared with itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.probe import REQUESTS
from bench.records import Record, read

from .conftest import BIN, ROOT, Service

pytestmark = pytest.mark.live


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "switchyard"), "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)


def kept(folder: Path) -> list[Record]:
    return read((folder / "requests.jsonl").read_text().splitlines(), "it")


@pytest.mark.parametrize("api", ["generate", "completions", "chat"])
def test_a_run_counts_as_the_engine_does(tiny: Service, api: str, tmp_path: Path) -> None:
    before = [tiny.metric(f"vllm:{name}_tokens_total") for name in ("prompt", "generation")]
    folder = tmp_path / "run"
    done = bench(
        "run", "--url", tiny.url, "--api", api, "--shape", "48/24", "--concurrency", "4", "--requests", "12",
        "--warmup", "0", "--out", folder, "--no-report",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    records = kept(folder)
    assert len(records) == 12
    generated = tiny.metric("vllm:generation_tokens_total") - before[1]
    others = generated - sum(record.completion_tokens for record in records)
    assert REQUESTS <= others <= REQUESTS + 20, "a token for each word that is counted, and the health check's"
    assert tiny.metric("vllm:prompt_tokens_total") - before[0] > sum(record.prompt_tokens for record in records)
    assert {record.prompt_tokens for record in records} <= {47, 48, 49}
    assert all(record.ttft is not None and 0 < record.ttft <= record.e2e for record in records)
    if api == "generate":
        release = tiny.client.get(f"{tiny.url}/release").json()["release"]
        assert {record.served_by for record in records} == {release}
    else:
        assert {record.completion_tokens for record in records} == {24}, "ignore_eos goes on to the end"


def test_an_open_loop_of_a_shared_prefix_draws_its_report(tiny: Service, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = bench(
        "run", "--url", tiny.url, "--workload", "shared-prefix", "--shape", "64/16", "--rate", "2,4", "--duration", "3",
        "--out", folder, "--slo", "ttft:60000", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found["stages"]) == ["2/s", "4/s"]
    assert found["total"]["good_share"] == 1.0
    assert (folder / "report.html").stat().st_size > 50_000
    assert (folder / "ladder.png").exists()


def test_a_service_compared_with_itself_gives_the_same_answers(tiny: Service, tmp_path: Path) -> None:
    done = bench(
        "compare", tiny.url, tiny.url, "--api", "completions", "--shape", "32/16", "--concurrency", "2",
        "--requests", "8", "--rounds", "3", "--limit", "3", "--logprobs", "--out", tmp_path / "run", "--no-report",
        "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    comparison = json.loads(done.stdout)["comparison"]
    assert {line["verdict"] for line in comparison["lines"]} <= {"no difference shown", "better"}
    drift = comparison["drift"]
    assert (drift["pairs"], drift["length_ratio"]) == (24, 1.0)
    # Batches of other sizes add in another order: a random model's near-ties may then turn out otherwise.
    assert drift["exact"] >= 0.8
    assert drift["logprob_difference"] is not None and drift["logprob_difference"] < 0.01


def test_a_service_that_answers_something_else(tiny: Service, tmp_path: Path) -> None:
    done = bench("run", "--url", f"{tiny.url}/v1", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "HTTP 404" in done.stderr and "Nothing was measured" in done.stderr
    assert not (tmp_path / "run").exists()
