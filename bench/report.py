"""A run as one HTML file that needs nothing else: no script, no font, no request to anywhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, cast

from bench.comparison import Comparison
from bench.plots import Plot
from bench.statistics import Summary
from bench.tables import COMPARED, HEADER, compared, drift, row

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --card: #f6f7f9; --grid: #d8dce2;
  --bad: #c62f2f; --good: #2f7d46; --s1: #1f6fb2; --s2: #d9730d; --s3: #2f8f4e; --s4: #8a4fbf;
  --s5: #b0306a; --s6: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b0; --paper: #14171b; --card: #1d2126;
  --grid: #363c44; --bad: #ff7b72; --good: #6fce8b; --s1: #6cb3f0; --s2: #f5a45d; --s3: #6fce8b; --s4: #c4a0ee;
  --s5: #ee86b2; --s6: #a3abb6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .2rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile, figure { background: var(--card); border-radius: .6rem; padding: .7rem .9rem; margin: 0; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid var(--s2); background: var(--card); padding: .5rem .8rem; margin: .6rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .8rem; }
figure svg { width: 100%; height: auto; display: block; font-family: system-ui, sans-serif; }
figcaption { margin-bottom: .3rem; }
.wide { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
ul { padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
"""


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


def document(title: str, parts: Sequence[str]) -> str:
    """A page in this style: one file that fetches nothing.

    Args:
        title: plain text.
        parts: of its body, HTML.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]], kinds: Mapping[str, str]) -> str:
    """Cells of plain text as an HTML table; ``kinds``: CSS classes of cells by what they say."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f'<td class="{kinds.get(cell, "")}">{escape(cell)}</td>' for cell in cells) + "</tr>"
        for cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(plot: Plot) -> str:
    """A picture with its title and caption."""
    return (
        f"<figure><figcaption><b>{escape(plot.title)}</b><br>"
        f'<span class="soft">{escape(plot.caption)}</span></figcaption>'
        f"{plot.svg}</figure>"
    )


def _errors(stages: Mapping[str, Summary]) -> str:
    lines = [
        f"{escape(name)}: {count} times: {escape(error)}"
        for name, found in stages.items()
        for error, count in found.errors.items()
    ]
    return f"<h2>Failures</h2><ul>{''.join(f'<li>{line}</li>' for line in lines[:50])}</ul>" if lines else ""
