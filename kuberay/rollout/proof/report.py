"""A revision's story as one HTML file, in the look of `bench`'s reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from bench.page import document, figure, table
from kuberay.rollout.proof import between
from kuberay.rollout.proof.account import Account, Crossing
from kuberay.rollout.proof.pictures import Picture
from kuberay.rollout.proof.story import Story, ended
from kuberay.rollout.record import Outcome
from kuberay.rollout.validation import verdict
from kuberay.rollout.validation.verdict import Finding

MOST_RATIO = 1.3
"""The p99 of the first minute after a switch is at most so many times the one before."""
_MOST_LINES = 200

_CROSSING = (
    "", "spanned it", "on which release", "of these dropped", "longest of these", "decision to traffic",
    "p99 first token before", "p99 first token after", "after over before",
)  # fmt: skip

_STYLE = """
.claim { font-size: 1.15rem; border-left: 5px solid var(--good); background: var(--card); padding: .6rem .9rem;
  border-radius: .3rem; margin: .8rem 0; overflow-wrap: anywhere; }
.claim.bad { border-color: var(--bad); color: var(--ink); font-weight: 400; } .claim.none { border-color: var(--s6); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.phase { display: grid; grid-template-columns: 1.4rem 6rem 4.5rem minmax(0, 1fr); gap: 0 .6rem; padding: .4rem 0;
  border-bottom: 1px solid var(--grid); align-items: baseline; overflow-wrap: anywhere; }
.num { font-variant-numeric: tabular-nums; text-align: right; }
@media (max-width: 40rem) { .phase { grid-template-columns: 1.4rem 1fr auto; } .phase .what { grid-column: 2 / -1; } }
.bar { grid-column: 1 / -1; height: .45rem; background: var(--grid); border-radius: .25rem; margin-top: .25rem;
  overflow: hidden; }
.bar i { display: block; height: 100%; min-width: 2px; border-radius: .25rem; background: var(--s1); }
pre { background: var(--card); padding: .6rem .8rem; border-radius: .5rem; font-size: .85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.finding { border-bottom: 1px solid var(--grid); padding: .4rem 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { th, td { padding: .3rem .4rem; } th:first-child, td:first-child { white-space: normal; } }
summary { cursor: pointer; } .big { display: none; } figure { margin-bottom: .8rem; }
@media (min-width: 50rem) { .big { display: block; } .small { display: none; } }
@media print { .big { display: block; } .small { display: none; } }
"""


def page(story: Story, pictures: Sequence[Picture], notes: Sequence[str] = ()) -> str:
    """The whole page.

    Args:
        pictures: from :func:`kuberay.rollout.proof.pictures.draw`.
        notes: what a reader should know first, such as that there are no pictures.
    """
    found = story.account
    parts = [f"<h1>{escape(story.title)}</h1>", _claim(found), _tiles(story, found)]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    parts += [_about(story), _phases(story)]
    if pictures:
        parts.append("<h2>Traffic</h2>")
        parts += [
            f'<div class="small">{figure(one.narrow)}</div><div class="big">{figure(one.wide)}</div>'
            for one in pictures
        ]
    if found.sent:
        parts += [_crossings(story, found.crossings), _requests(story, found)]
    parts += [_verdict(story), _changes(story)]
    return document(story.title, [part for part in parts if part], _STYLE)


def _claim(found: Account) -> str:
    kind = "none" if not found.sent else "bad" if found.dropped else ""
    return f'<p class="claim {kind}">{escape(found.sentence)}</p>'


def _tiles(story: Story, found: Account) -> str:
    record = story.record
    good = record.outcome is Outcome.SERVES
    tiles = [("outcome", record.outcome.value or "running", "good" if good else "bad" if record.outcome else "")]
    if record.verdict:
        tiles.append(("verdict", record.verdict, "good" if record.verdict == "pass" else "bad"))
    if found.sent:
        tiles.append((f"dropped of {found.sent}", str(found.dropped), "bad" if found.dropped else "good"))
    for one in found.crossings[:1]:
        if math.isfinite(one.first_new_s):
            tiles.append(("from decision to traffic", f"{one.first_new_s:.1f} s", ""))
        if math.isfinite(one.ratio):
            kind = "good" if one.ratio <= MOST_RATIO else "bad"
            tiles.append(("p99 first token, after over before", f"{one.ratio:.2f}", kind))
    if story.phases and not record.running:
        tiles.append(("took", _duration(story.phases[-1].begins - story.began), ""))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b class="{kind}">{escape(text)}</b>{escape(what)}</div>' for what, text, kind in tiles
        )
        + "</div>"
    )


def _about(story: Story) -> str:
    record = story.record
    began = datetime.fromtimestamp(story.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if story.began else ""
    rows = [
        ("Begun", f"{began} by {record.by}" if record.by else began),
        ("How", f"{record.kind.value}, strategy {record.strategy}{', automatic' if record.auto else ''}"),
        ("Before", _place(record.blue.release, record.blue.cluster)),
        ("New", _place(record.green.release, record.green.cluster)),
        ("Ended", ended(record)),
    ]
    if record.wish.verb:
        override = ", against or without a verdict" if record.wish.override else ""
        because = f": {record.wish.reason}" if record.wish.reason else ""
        rows.insert(3, ("Decided", f"{record.wish.verb.value} by {record.wish.by}{override}{because}"))
    rows += [("Load", f"{one.streams} streams {one.way}, from {one.source}") for one in story.loads]
    return "<dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows if b) + "</dl>"


def _place(release: str, cluster: str) -> str:
    return f"release {release}{f' on {cluster}' if cluster else ''}" if release else "nothing"


def _phases(story: Story) -> str:
    phases = story.phases
    if not phases:
        return ""
    whole = max(phases[-1].ends - story.began, 0.001)
    rows: list[str] = []
    for one in phases:
        left = 100 * (one.begins - story.began) / whole
        width = min(100 * (one.ends - one.begins) / whole, 100 - left)
        rows.append(
            f'<div class="phase"><b>{one.number}</b><span>{escape(one.name)}</span>'
            f'<span class="num">{_clock(one.begins - story.began)}</span><span class="what">{escape(one.text)}</span>'
            f'<div class="bar"><i style="margin-left:{left:.2f}%;width:{width:.2f}%"></i></div></div>'
        )
    return f"<h2>Phases</h2>{''.join(rows)}"


def _crossings(story: Story, crossings: Sequence[Crossing]) -> str:
    if not crossings:
        return ""
    names = _names(story)
    columns = [
        (
            "the switch" if one.move.name == "switch" else "the way back",
            str(sum(one.spanning.values())),
            ", ".join(f"{count} {names.get(release, release)}" for release, count in one.spanning.items()) or "-",
            str(one.spanning_dropped),
            _time(one.spanning_longest_s),
            _time(one.first_new_s),
            f"{_time(one.before_p99_s)} (of {one.before_count})",
            f"{_time(one.after_p99_s)} (of {one.after_count})",
            f"{one.ratio:.2f}" if math.isfinite(one.ratio) else "-",
        )
        for one in crossings
    ]
    rows = [list(row) for row in zip(_CROSSING, *columns, strict=True)]
    said = (
        "Spanning: sent before the switch, ended after it. p99 of the time to the first token, in the minute before on "
        "the old release and in the first minute on the new one; more requests make it sharper."
    )
    return f'<h2>Switches</h2>{table(rows[0], rows[1:], {})}<p class="soft">{said}</p>'


def _requests(story: Story, found: Account) -> str:
    kinds = ("finished", "dropped", "refused", "given up")
    names = _names(story)
    rows = [
        [
            f"{release} ({names[release]})" if release and release in names else names.get(release, release),
            *(str(counts.get(kind, 0)) for kind in kinds),
        ]
        for release, counts in found.by_release.items()
    ]
    rows.append(["all", *(str(one) for one in (found.finished, found.dropped, found.refused, found.given_up))])
    pause = f"Longest pause inside a stream: {_time(found.pause_s)}." if math.isfinite(found.pause_s) else ""
    listed = "".join(
        f"<li>{count} times: {escape(error)}</li>" for error, count in list(found.errors.items())[:_MOST_LINES]
    )
    errors = f"<h2>Failures</h2><ul>{listed}</ul>" if listed else ""
    return f'<h2>Requests</h2>{table(("release", *kinds), rows, {})}<p class="soft">{pause}</p>{errors}'


def _names(story: Story) -> dict[str, str]:
    """What releases are called; a request that broke off has told none."""
    return {story.record.blue.release: "before", story.record.green.release: "new", "": "not told"}


def _verdict(story: Story) -> str:
    found = story.verdict
    if found is None:
        return '<h2>Verdict</h2><p class="soft">No verdict is kept with this revision.</p>'
    return (
        f"<h2>Verdict</h2><p>{escape(verdict.lines(found)[-1])}</p>{''.join(_finding(one) for one in found.findings)}"
    )


def _finding(one: Finding) -> str:
    kind = {"pass": "good", "fail": "bad"}.get(one.outcome.value, "soft")
    said = f'<b class="{kind}">{escape(one.outcome.value)}</b> <b>{escape(one.check)}</b> {escape(one.text)}'
    if not one.figures:
        return f'<div class="finding">{said}</div>'
    rows = [[name.replace("_", " "), _figure(value)] for name, value in one.figures.items()]
    return f'<details class="finding"><summary>{said}</summary>{table(("figure", ""), rows, {})}</details>'


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.5g}" if math.isfinite(value) else "-"


def _changes(story: Story) -> str:
    if not story.old.release or story.old.release == story.new.release:
        return ""
    if not (story.old.objects and story.new.objects):
        return '<h2>What changed</h2><p class="soft">The objects of one of the two releases are not kept any more.</p>'
    lines = between.lines(story.old, story.new, story.changed)
    shown = lines[:_MOST_LINES] + ([f"... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else [])
    return f"<h2>What changed</h2><pre>{escape(chr(10).join(shown))}</pre>"


def _time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.1f} s"


def _clock(seconds: float) -> str:
    """Since the beginning: ``3:07``, ``1:02:45``; with a tenth in the first minutes."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    if minutes >= 60:
        return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{int(rest):02d}"
    return f"{int(minutes)}:{math.floor(rest * 10) / 10:04.1f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
