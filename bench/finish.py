"""From records to the files that people look at: summary.json, report.html and pictures. Edge: files, matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from bench import plots, report
from bench.comparison import Comparison, compare
from bench.errors import ResultError
from bench.records import GIVEN_UP, Record
from bench.results import REPORT, SUMMARY, Run, write_json
from bench.runner import Client
from bench.statistics import Slo, Summary, summary
from bench.tables import as_json, by_stage, client_json, remarks


@dataclass(frozen=True)
class Findings:
    """What a run says.

    Attributes:
        stages: a summary for each part, by name.
        total: of everything.
        comparison: where there were two targets.
        notes: what a reader should know first.
        reason: why the run ended before its end; '' if it did not.
    """

    stages: dict[str, Summary]
    total: Summary
    comparison: Comparison | None
    notes: list[str]
    reason: str = ""


def findings(
    run: Run,
    slo: Slo,
    confidence: float = 0.95,
    limit: float = 1.0,
    client: Client | None = None,
    reason: str = "",
) -> Findings:
    """Work a run out.

    Raises:
        ResultError: it has more than two targets.
    """
    labels = sorted(run.labels)
    if len(labels) > 2:
        raise ResultError(f"{run.name} has {len(labels)} targets; a comparison is of two.")
    records = [record for record in run.records if record.error != GIVEN_UP]
    compared: Comparison | None = None
    if len(labels) == 2:
        a, b = ([record for record in records if record.target == label] for label in labels)
        compared = compare(a, b, confidence, limit)
        stages = {f"{name}": summary(part, slo) for name, part in zip(labels, (a, b), strict=True)}
    else:
        named = cast("Sequence[Mapping[str, Any]]", run.about.get("stages", ()))
        stages = by_stage(records, [str(stage.get("name")) for stage in named], slo)
    total = summary(records, slo)
    asked = float(run.about.get("asked_tokens") or 0)
    notes = [f"The run ended before its end: {reason}"] if reason else []
    if given_up := len(run.records) - len(records):
        notes.append(f"{given_up} requests were running when it was ended; they are not counted.")
    if compared and not compared.rounds:
        notes.append("A and B were not measured side by side: what else the machine did may be the difference.")
    if compared:
        share = 100 * (1 - compared.confidence)
        notes.append(
            f"Each of the {len(compared.lines)} intervals misses the truth by chance {share:.3g} % of the time."
        )
    return Findings(stages, total, compared, notes + remarks(total, client or Client(), asked), reason)


def to_json(found: Findings, client: Client | None = None) -> dict[str, Any]:
    """``summary.json``."""
    return {
        "complete": not found.reason,
        "reason": found.reason,
        "total": as_json(found.total),
        "stages": as_json(found.stages),
        "comparison": as_json(found.comparison) if found.comparison else None,
        "client": client_json(client) if client else None,
        "notes": found.notes,
    }


def write_summary(run: Run, found: Findings, client: Client | None = None) -> None:
    """Write ``summary.json`` into the run's folder."""
    write_json(run.folder / SUMMARY, to_json(found, client))


def write_report(run: Run, found: Findings) -> None:
    """Write ``report.html`` and the pictures into the run's folder.

    Raises:
        ToolMissing: matplotlib is not installed.
        ResultError: the folder cannot be written.
    """
    pictures = plots.draw(_groups(run), None if found.comparison else found.stages, found.comparison)
    title = f"{'Comparison' if found.comparison else 'Load'}: {run.name}"
    html = report.page(title, run.about, found.stages, pictures, found.notes, found.comparison)
    try:
        (run.folder / REPORT).write_text(html, encoding="utf-8")
        for picture in pictures:
            (run.folder / f"{picture.name}.png").write_bytes(picture.png)
    except OSError as error:
        raise ResultError(f"The report cannot be written: {error}.") from None


def _groups(run: Run) -> dict[str, list[Record]]:
    """What has a colour of its own: each target; of a single one, each stage."""
    records = [record for record in run.records if record.error != GIVEN_UP]
    if len(run.labels) > 1:
        return {label: [record for record in records if record.target == label] for label in sorted(run.labels)}
    named = cast("Sequence[Mapping[str, Any]]", run.about.get("stages", ()))
    found: dict[str, list[Record]] = {}
    for record in records:
        name = str(named[record.round].get("name")) if record.round < len(named) else f"part {record.round + 1}"
        found.setdefault(name, []).append(record)
    return found
