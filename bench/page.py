"""A page that is one HTML file and needs nothing else: no script, no font, no request to anywhere. Pure.

Readable on a phone, in light and in dark; pictures are :mod:`bench.plots`' and take their colours from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from bench.plots import Plot

STYLE = """
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


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """The whole page; ``parts`` are HTML, ``style`` is added to the common one."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], kinds: Mapping[str, str]) -> str:
    """A table that scrolls sideways where it is too wide.

    Args:
        kinds: the class of cells with that text, such as ``bad`` or ``good``.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f'<td class="{kinds.get(cell, "")}">{escape(cell)}</td>' for cell in cells) + "</tr>"
        for cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(plot: Plot) -> str:
    """A picture with its title."""
    return (
        f"<figure><figcaption><b>{escape(plot.title)}</b><br>"
        f'<span class="soft">{escape(plot.caption)}</span></figcaption>'
        f"{plot.svg}</figure>"
    )
