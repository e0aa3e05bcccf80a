"""What ``status`` and ``doctor`` show, as rich renderables; nothing here prints. Made for 80 columns, better at 120."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kuberay.doctor.findings import Finding, Severity
from kuberay.look.status import ClusterStatus, Phase, Status

_PHASE_STYLES = {
    Phase.SERVING: "bold green",
    Phase.HELD: "bold cyan",
    Phase.UPGRADING: "bold cyan",
    Phase.STARTING: "bold yellow",
    Phase.DEGRADED: "bold red",
    Phase.FAILED: "bold red",
    Phase.SUSPENDED: "bold blue",
    Phase.ABSENT: "bold",
}
_SEVERITY_STYLES = {
    Severity.DOWN: "bold white on red",
    Severity.BLOCKED: "bold red",
    Severity.DEGRADED: "bold yellow",
    Severity.RISK: "bold blue",
}


def age(seconds: int) -> str:
    """A duration as kubectl writes it: 12s, 5m, 3h, 2d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit != "m" and seconds >= length):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def status_screen(one: Status, change: str = "") -> RenderableType:
    """One service on one screen.

    Args:
        change: that is under way, in a line.
    """
    since = "" if one.phase is Phase.ABSENT else f"  age {age(one.age_s)}"
    head = Text.assemble((one.name, "bold"), f"  namespace {one.namespace}  context {one.context or '-'}{since}")
    phase = Text.assemble((one.phase, _PHASE_STYLES[one.phase]), f"  {one.why}")
    parts: list[RenderableType] = [head, phase]
    if change:
        parts.append(Text.assemble(("Change", "bold"), f"  {change}"))
    if one.clusters:
        parts += ["", _clusters(one.clusters)]
    if one.phase is not Phase.ABSENT:
        parts += ["", _traffic(one)]
    if one.conditions:
        parts += ["", _conditions(one)]
    if one.warnings:
        parts += ["", *(Text(f"! {warning}", style="yellow") for warning in one.warnings)]
    return Group(*parts)


def _clusters(clusters: Sequence[ClusterStatus]) -> Table:
    table = _table("CLUSTER", "ROLE", "RELEASE", "PODS", "REPLICAS", "APPS", "AGE")
    for one in clusters:
        role = one.role
        if one.deleting:
            role = "being deleted"
        elif one.time_left_s is not None:
            role = f"retired, {age(one.time_left_s)} left"
        elif one.traffic is not None:
            role = f"{role}, {one.traffic} % of the traffic"
        pods = "\n".join(
            f"{group.name} {group.ready}/{group.wanted}" + (f" ({group.pending} pending)" if group.pending else "")
            for group in one.groups
        )
        replicas = "\n".join(f"{count} {state.lower()}" for state, count in one.replicas.items()) or "-"
        apps = "\n".join(f"{name} {state}" for name, state in one.apps.items()) or "-"
        lived = "-" if one.age_s is None else age(one.age_s)
        table.add_row(*(escape(cell) for cell in (one.name, role, one.release or "-", pods, replicas, apps, lived)))
    return table


def _traffic(one: Status) -> Text:
    traffic = one.traffic
    where = f"{traffic.cluster} ({traffic.role or 'gone'})" if traffic.cluster else "nothing yet"
    lines = [f"TRAFFIC   {traffic.service} -> {where}, {traffic.ready}/{traffic.total} endpoints ready"]
    lines += [f"{'ADDRESS' if place == 0 else '':<9} {address}" for place, address in enumerate(one.addresses)]
    return Text("\n".join(lines))


def _conditions(one: Status) -> Table:
    table = _table("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")
    for condition in one.conditions:
        cells = (condition.type, condition.status, condition.reason, age(condition.age_s), condition.message)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def status_table(many: Iterable[Status]) -> Table:
    """Many services, one line each."""
    table = _table("NAMESPACE", "NAME", "PHASE", "RELEASE", "PODS", "ENDPOINTS", "AGE")
    for one in many:
        ready, wanted = one.ready_pods
        table.add_row(
            escape(one.namespace),
            escape(one.name),
            Text(one.phase, style=_PHASE_STYLES[one.phase]),
            escape(one.release or "-"),
            f"{ready}/{wanted}",
            f"{one.traffic.ready}/{one.traffic.total}",
            age(one.age_s),
        )
    return table


def doctor_screen(
    name: str, findings: Sequence[Finding], checks: Sequence[str], *, serving: bool = True
) -> RenderableType:
    """Findings with their evidence and next steps; or that nothing is wrong, and what was looked at.

    Print it with ``crop=False``: commands are longer than a line, and must be whole to be copied.
    """
    if not findings:
        yet = "" if serving else ", but it does not serve yet"
        title = Text.assemble((name, "bold"), f": nothing wrong was found{yet}", style="green" if serving else "yellow")
        return Group(title, *(Text(f"  {one}") for one in checks))
    parts: list[RenderableType] = []
    for place, one in enumerate(findings, 1):
        parts += ["", *_finding(place, one)] if parts else _finding(place, one)
    return Group(*parts)


def _finding(place: int, one: Finding) -> list[RenderableType]:
    mark = Text(f" {one.severity} ", style=_SEVERITY_STYLES[one.severity])
    parts: list[RenderableType] = [
        Text.assemble(f"{place}. ", mark, " ", (one.title, "bold"), (f"  [{one.id}]", "dim"))
    ]
    parts.append(_indented(Text(one.because)))
    parts += [_indented(Text.assemble((f"{seen.source}: ", "dim"), seen.text), 5) for seen in one.evidence]
    parts.append(_indented(Text("Next:", style="bold")))
    for step in one.next_steps:
        parts.append(_indented(Text(f"- {step.text}"), 5))
        if step.command:
            # Not wrapped: what is copied must be one line.
            parts.append(Text(f"{' ' * 7}$ {step.command}", style="cyan", no_wrap=True, overflow="ignore"))
    if one.unseen:
        parts.append(_indented(Text(f"Not seen: {'; '.join(one.unseen)}", style="dim")))
    return parts


def _indented(text: Text, by: int = 3) -> Padding:
    return Padding(text, (0, 0, 0, by))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        # What is copied, and what is short, stays in a line.
        table.add_column(column, overflow="fold", no_wrap=column in ("CLUSTER", "RELEASE", "AGE", "SINCE"))
    return table
