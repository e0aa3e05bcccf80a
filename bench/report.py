"""A run as one HTML file that needs nothing else: no script, no font, no request to anywhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, cast

from bench.comparison import Comparison
from bench.page import document, figure, table
from bench.plots import Plot
from bench.statistics import Summary
from bench.tables import COMPARED, HEADER, compared, drift, row


def page(
    title: str,
    about: Mapping[str, Any],
    stages: Mapping[str, Summary],
    plots: Sequence[Plot],
    notes: Sequence[str],
    comparison: Comparison | None = None,
) -> str:
    """The whole page.

    Args:
        title: the run's name.
        about: ``run.json``.
        stages: a summary for each part, by name; see :func:`bench.tables.by_stage`.
        plots: from :func:`bench.plots.draw`.
        notes: what a reader should know first.
        comparison: of two targets.
    """
    parts = [f"<h1>{escape(title)}</h1>", _what(about)]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    parts.append(_tiles(stages) if comparison is None else _verdicts(comparison))
    parts.append("<h2>Numbers</h2>")
    if comparison:
        rows = [(compared(line), line.verdict) for line in comparison.lines]
        parts.append(table(COMPARED, [cells for cells, _ in rows], {"worse": "bad", "better": "good"}))
    parts.append(table(HEADER, [row(name, found) for name, found in stages.items()], {}))
    parts.append('<p class="soft">Latencies in ms, p50 / p90 / p99, of requests that ended well.</p>')
    parts.append(f'<h2>Pictures</h2><div class="plots">{"".join(figure(plot) for plot in plots)}</div>')
    parts.append(_errors(stages))
    return document(title, parts)


def _what(about: Mapping[str, Any]) -> str:
    """Who was measured, how, when and on what, as far as it is known."""
    lines: list[str] = []
    for target in cast("Sequence[Mapping[str, Any]]", about.get("targets", ())):
        model = f", {target['model']}" if target.get("model") else ""
        lines.append(f"{target.get('label')}: {target.get('url')} ({target.get('api')}{model})")
    load = cast("Mapping[str, Any]", about.get("load", {}))
    if load:
        lines.append("Load: " + ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in load.items()))
    if machine := cast("Mapping[str, Any]", about.get("machine", {})):
        load_average = cast("Sequence[float]", machine.get("load", (0.0,)))[0]
        lines.append(
            f"{about.get('started', '')}, client on {machine.get('cores')} cores ({machine.get('cpu')}), "
            f"{machine.get('system')}, load average {load_average} before"
        )
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def _text(value: object) -> str:
    return ", ".join(f"{item:g}" for item in cast("list[float]", value)) if isinstance(value, list) else str(value)


def _tiles(stages: Mapping[str, Summary]) -> str:
    """What one looks for first: of the only stage, or of the one with the most throughput."""
    name, best = max(stages.items(), key=lambda item: item[1].requests_per_s)
    failed = sum(found.failed for found in stages.values())
    total = sum(found.requests for found in stages.values())
    tiles = [
        ("requests a second" + (f" ({name})" if len(stages) > 1 else ""), f"{best.requests_per_s:.2f}", ""),
        ("output tokens a second", f"{best.output_tokens_per_s:.0f}", ""),
        ("to the first token, p50", f"{best.ttft.p50 * 1000:.0f} ms", ""),
        ("to the first token, p99", f"{best.ttft.p99 * 1000:.0f} ms", ""),
        ("a token, p50", f"{best.tpot.p50 * 1000:.1f} ms", ""),
        (f"failed of {total}", str(failed), "bad" if failed else "good"),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b class="{kind}">{escape(value)}</b>{escape(what)}</div>'
            for what, value, kind in tiles
        )
        + "</div>"
    )


def _verdicts(comparison: Comparison) -> str:
    better, worse = ([line.metric for line in lines] for lines in (comparison.better, comparison.worse))
    said = [
        f'<div class="tile"><b class="{kind if names else ""}">{len(names)}</b>B {what}{": " if names else ""}'
        f"{escape(', '.join(names))}</div>"
        for what, names, kind in (("worse", worse, "bad"), ("better", better, "good"))
    ]
    unclear = len(comparison.lines) - len(better) - len(worse)
    said.append(f'<div class="tile"><b>{unclear}</b>no difference shown</div>')
    return f'<div class="tiles">{"".join(said)}</div><p>{escape(drift(comparison))}</p>'


def _errors(stages: Mapping[str, Summary]) -> str:
    lines = [
        f"{escape(name)}: {count} times: {escape(error)}"
        for name, found in stages.items()
        for error, count in found.errors.items()
    ]
    return f"<h2>Failures</h2><ul>{''.join(f'<li>{line}</li>' for line in lines[:50])}</ul>" if lines else ""
