"""Revisions as people and programs read them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kuberay.rollout.record import Outcome, Record

SAID = {
    Outcome.SERVES: "serves",
    Outcome.ABORTED: "was aborted",
    Outcome.ROLLED_BACK: "was rolled back",
    Outcome.FAILED: "failed",
}


def as_json(record: Record) -> dict[str, Any]:
    """A record as JSON data; names are those of the attributes, and ``seconds`` how long each phase took to come."""
    data = dataclasses.asdict(record)
    began = _moment(record.began)
    data["seconds"] = {
        phase: round((then - began).total_seconds(), 1)
        for phase, text in record.times.items()
        if (then := _moment(text)) and began
    }
    return data


def conclusion(record: Record, trouble: str = "") -> str:
    """How a revision stands, in a sentence or two.

    Args:
        trouble: why green is not as it should be.
    """
    about = f"Revision {record.number} (release {record.green.release})"
    if record.running:
        has = f" at {record.reached} % of the traffic" if record.reached else ""
        if trouble:
            return f"{about}{has}: {trouble}."
        bad = "its verdict is bad" if record.verdict == "fail" else ""
        why = f" because {found}" if (found := record.breach or bad) else ""
        how = "switchyard promote --force --reason WHY" if found else "switchyard promote"
        return f"{about} is held{has}{why}. {how} lets it serve, switchyard abort takes it back."
    why = "" if record.why in ("", "it serves") else f": {record.why}"
    return f"{about} {SAID[record.outcome]}{why}."


def retires(record: Record, operator: str = "deployment/kuberay-operator -n ITS-NAMESPACE") -> str:
    """What a second retirement of blue costs, and what helps.

    Args:
        operator: KubeRay's, in kubectl's words.
    """
    return (
        f"{record.blue.cluster} has retired before, which KubeRay never forgets: it may delete it right after the "
        "switch, and then abort and rollback take a whole start. To keep it as a warm way back, have its operator "
        f"forget, before the switch: kubectl rollout restart {operator}"
    )


WIDE = 110
"""Columns of a terminal that a line a revision needs."""


def table(records: Sequence[Record], service: str, width: int) -> str:
    """The revisions, newest last: a line each, or several where the terminal is too narrow for that.

    Args:
        width: of the terminal, in columns.
    """
    if not records:
        return f"No revision of {service} has been kept. switchyard deploy or switchyard rollout makes the first."
    serving = next((one for one in reversed(records) if one.outcome is Outcome.SERVES), None)
    wide = width >= WIDE
    found = Table(box=None, pad_edge=False, header_style="bold", show_header=wide)
    for column in ("REVISION", "RELEASE", "KIND", "OUTCOME", "VERDICT", "BY", "BEGAN (UTC)", "TOOK", "WHY"):
        if wide or column in ("REVISION", "WHY"):
            found.add_column(column, no_wrap=column != "WHY")
    for one in records:
        told = "served" if one.outcome is Outcome.SERVES and one is not serving else one.outcome.value or "running"
        began, why = one.began[:19].replace("T", " "), one.why or _wished(one)
        if wide:
            row = (one.green.release, one.kind.value, told, one.verdict or "-", one.by or "-", began, _took(one), why)
        else:
            who = f" by {one.by}" if one.by else ""
            how = [told, f"verdict {one.verdict}" if one.verdict else "", _took(one).strip("-"), why]
            row = (f"{one.green.release}  {one.kind.value}{who}, {began}\n{', '.join(filter(None, how))}",)
        found.add_row(str(one.number), *(Text(cell) for cell in row))  # people and models write what looks like markup
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(found)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def under_way(record: Record) -> str:
    """Who changes the service, how far that has come, and what somebody wants of it that is not done yet."""
    wished = f"; {_wish(record)}" if record.wish.verb else ""
    return f"revision {record.number}, {record.kind} by {record.by}: {_reached(record) or 'begun'}{wished}"


def _wished(record: Record) -> str:
    """What somebody wants of one that has not ended, and that is not done yet; else how far it has come."""
    return _wish(record) if record.wish.verb else _reached(record)


def _wish(record: Record) -> str:
    wish = record.wish
    return f"{wish.verb} wished by {wish.by}{f': {wish.reason}' if wish.reason else ''}"


def _reached(record: Record) -> str:
    return f"{list(record.times)[-1]}, since {list(record.times.values())[-1][11:19]} UTC" if record.times else ""


def _took(record: Record) -> str:
    began, ended = _moment(record.began), _moment(record.times.get("ended", ""))
    return f"{(ended - began).total_seconds():.0f} s" if began and ended else "-"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
