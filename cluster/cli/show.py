"""What commands show: tables for people, plain values for ``--output json``. Returns them; prints nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster.cli.tables import table
from cluster.config import ClusterConfig
from cluster.doctor import Check
from cluster.model import Action, Key, Plan, Verb
from cluster.prices import LEFT_OUT, Line, Prices, components, hours_off_saving, spot_saving, total
from cluster.workflow import Look

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE_SHARE = 5 * 12 / (7 * 24)
"""Weekdays, twelve hours: the example of what off-hours save."""

_STYLE = {
    Verb.CREATE: "green",
    Verb.UPDATE: "yellow",
    Verb.REPLACE: "red",
    Verb.DELETE: "red",
    Verb.WAIT: "cyan",
    Verb.REFUSE: "bold red",
}


def plan_table(plan: Plan) -> Table:
    """One row an action."""
    shown = table("", "resource", "")
    for action in plan.actions:
        verb, style = action.verb, _STYLE[action.verb]
        shown.add_row(f"[{style}]{verb}[/]", _escape(str(action.key)), _escape(_what(action)))
    return shown


def cost_table(lines: Sequence[Line]) -> Table:
    """One row a resource that costs something, and the sum."""
    shown = table("resource", ">idle $", ">full $", "a month")
    for line in lines:
        shown.add_row(str(line.key), f"{line.idle:,.0f}", f"{line.full:,.0f}", line.note)
    idle, full = total(lines)
    shown.add_section()
    shown.add_row("sum", f"{idle:,.0f}", f"{full:,.0f}", "idle: pools at min_nodes; full: at max_nodes all month")
    return shown


def savings(config: ClusterConfig, prices: Prices, pools: Sequence[tuple[Key, Any]]) -> list[str]:
    """What spot and off-hours come to, in sentences."""
    found: list[str] = []
    if saved := spot_saving(prices, config.region, pools):
        found.append(f"Spot pools save up to ${saved:,.0f} a month against the same nodes on demand.")
    gpu = [(key, spec) for key, spec in pools if spec.get("config", {}).get("accelerators")]
    off = hours_off_saving(prices, config.region, gpu, EXAMPLE_SHARE)
    if off:
        found.append(
            f"Off-hours (weekdays 08:00-20:00 only) save up to ${off:,.0f} a month: "
            'switchyard cluster schedule "weekdays 08:00-20:00 Europe/Berlin"'
        )
    return found


def under_cost(config: ClusterConfig, prices: Prices, lines: Sequence[Line]) -> str:
    """What the numbers are."""
    return f"Prices: {prices.label(config.region, components(lines))}. {LEFT_OUT}"


def plan_json(config: ClusterConfig, found: Look, lines: Sequence[Line], prices: Prices) -> str:
    """The plan as one JSON document."""
    idle, full = total(lines)
    estimates = prices.estimates(config.region, components(lines))
    document = {
        "actions": [action_json(action) for action in found.plan.actions],
        "kept": [{"resource": str(key), "reason": reason} for key, reason in found.plan.kept],
        "notes": list(found.plan.notes),
        "quota": [finding.__dict__ for finding in found.findings],
        "cost": {
            "currency": "USD",
            "per": "month",
            "idle": round(idle, 2),
            "full": round(full, 2),
            "resources": {str(line.key): {"idle": round(line.idle, 2), "full": round(line.full, 2)} for line in lines},
            "prices": {
                "date": prices.date,
                "verified": not estimates,
                "estimates": list(estimates),
                "source": prices.source,
            },
        },
    }
    return json.dumps(document, indent=2)


def action_json(action: Action) -> dict[str, Any]:
    """One action."""
    return {
        "verb": str(action.verb),
        "resource": str(action.key),
        "reason": action.reason,
        "changes": [{"field": change.path, "have": change.have, "want": change.want} for change in action.changes],
        "after": [str(key) for key in action.after],
        "spec": dict(action.spec),
    }


def status_rows(config: ClusterConfig, found: Look, lines: Sequence[Line]) -> dict[str, Any]:
    """What is there, as plain values."""
    observed = found.observed
    cluster = observed.found.get(Key("cluster", config.name))
    idle, full = total(lines)
    pools = {
        key.name: {
            "status": str(item.status),
            "machine": item.spec.get("config", {}).get("machineType", ""),
            "spot": bool(item.spec.get("config", {}).get("spot")),
            "zones": sorted(item.spec.get("locations", [])),
            "min": int(item.spec.get("autoscaling", {}).get("totalMinNodeCount", 0)),
            "max": int(item.spec.get("autoscaling", {}).get("totalMaxNodeCount", 0)),
            "note": item.note,
        }
        for key, item in sorted(observed.found.items())
        if key.kind == "node-pool"
    }
    return {
        "cluster": config.name,
        "project": config.project,
        "location": config.location,
        "status": str(cluster.status) if cluster else "absent",
        "version": cluster.facts.get("version", "") if cluster else "",
        "endpoint": cluster.facts.get("endpoint", "") if cluster else "",
        "nodes": cluster.facts.get("nodes", 0) if cluster else 0,
        "scaled_to_zero": observed.parked,
        "differences": len(found.plan.actions),
        "pools": pools,
        "usd_per_month": {"idle": round(idle, 2), "full": round(full, 2)},
    }


def status_tables(rows: dict[str, Any], plan_command: str) -> list[Table]:
    """The same for people."""
    top = table("", "")
    unfinished = ", not finished" if any(pool["max"] for pool in rows["pools"].values()) else ""
    state = rows["status"] + (f" (scaled to zero{unfinished})" if rows["scaled_to_zero"] else "")
    drift = rows["differences"]
    for name, value in (
        ("cluster", f"{rows['cluster']} in {rows['location']}, project {rows['project']}"),
        ("status", state),
        ("GKE version", rows["version"] or "-"),
        ("endpoint", rows["endpoint"] or "-"),
        ("nodes", str(rows["nodes"])),
        ("service file", "as wanted" if not drift else f"{drift} difference{'s' if drift > 1 else ''}: {plan_command}"),
        ("cost a month", "idle ${idle:,.0f}, full ${full:,.0f}".format(**rows["usd_per_month"])),
    ):
        top.add_row(name, _escape(value))
    pools = table("pool", "status", "machine", "spot", ">nodes", "zones")
    for name, pool in rows["pools"].items():
        nodes = f"{pool['min']}-{pool['max']}" if pool["max"] else "off"
        note = f"{pool['status']}: {pool['note']}" if pool["note"] else pool["status"]
        pools.add_row(
            name, _escape(note), pool["machine"], "yes" if pool["spot"] else "", nodes, " ".join(pool["zones"])
        )
    return [top, pools] if rows["pools"] else [top]


def checks_table(checks: Sequence[Check]) -> Table:
    """One row a check."""
    shown = table("", "check", "found", "next step")
    style = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        mark = f"[{style[check.state]}]{check.state}[/]"
        shown.add_row(mark, check.what, _escape(check.found), _escape(check.next))
    return shown


def _what(action: Action) -> str:
    if action.verb is Verb.REFUSE:
        return "see below"  # long, with commands to copy: printed without a table's line breaks
    if action.key.kind == "apis" and action.found:
        there: list[str] = action.found.spec.get("services", [])
        return _enable([name for name in action.spec["services"] if name not in there])
    if action.changes:
        changes = ", ".join(
            f"{change.path}: {_plain(change.have)} -> {_plain(change.want)}" for change in action.changes
        )
        return f"{changes}{f' ({action.reason})' if action.verb is Verb.REPLACE and action.reason else ''}"
    if action.reason:
        return action.reason
    return _summary(action)


def _enable(services: Sequence[str]) -> str:
    return f"enable {', '.join(name.split('.')[0] for name in services)}"


def _summary(action: Action) -> str:
    spec = action.spec
    match action.key.kind if action.verb is Verb.CREATE else "":
        case "apis":
            return _enable(spec["services"])
        case "cluster":
            return (
                f"{spec['releaseChannel']['channel'].lower()} channel, private nodes, Dataplane V2, Workload Identity"
            )
        case "node-pool":
            bounds, config = spec["autoscaling"], spec["config"]
            kind = "spot " if config.get("spot") else ""
            zones = f" in {', '.join(spec['locations'])}" if "locations" in spec else ""
            return f"{bounds['totalMinNodeCount']}-{bounds['totalMaxNodeCount']} x {kind}{config['machineType']}{zones}"
        case "grant":
            return f"{spec['role']} for {spec['member'].split(':', 1)[1]}"
        case "subnetwork":
            return f"nodes {spec['ipCidrRange']}, " + ", ".join(
                f"{item['rangeName']} {item['ipCidrRange']}" for item in spec["secondaryIpRanges"]
            )
        case "bucket":
            return f"{spec['location'].lower()}, versioned, uniform access"
        case "alert" | "dashboard" | "channel":
            return str(spec["displayName"])
        case "budget":
            return f"${spec['amount']['specifiedAmount']['units']} a month"
        case "secret-version":
            return "the token in $HF_TOKEN"
        case _:
            return ""


def _plain(value: Any) -> str:
    if value in (None, "", [], {}):
        return "not set"
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
