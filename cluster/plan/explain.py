"""The gcloud commands that do what a plan does, for people who want to check it, or to do it by hand. Pure.

A command says the same in gcloud's words; where gcloud has no flag for a field, a comment says so.
"""

from __future__ import annotations

import json
from typing import Any

from cluster.config import ClusterConfig
from cluster.model import Action, Key, Spec, Verb
from cluster.plan.explain_gke import cluster, labels, line, pool
from cluster.plan.explain_update import budget, cleanup, dashboard, firewall, lifecycle, nat, thresholds, update


def explain(config: ClusterConfig, action: Action) -> list[str]:
    """The commands for one action; comments begin with ``#``."""
    if action.verb is Verb.REFUSE:
        return [f"# {action.key}: refused, {action.reason}"]
    if action.verb is Verb.WAIT:
        return [f"# {action.key}: {action.reason}; see gcloud container operations list --project={config.project}"]
    commands: list[str] = []
    if action.verb in (Verb.DELETE, Verb.REPLACE):
        commands += _delete(config, action)
    another = action.verb is Verb.UPDATE and action.key.kind == "secret-version"  # a new token is a new version
    if action.verb in (Verb.CREATE, Verb.REPLACE) or another:
        commands += _create(config, action.key, action.spec)
    if action.verb is Verb.UPDATE and not another:
        commands += update(config, action)
    return commands


def _create(config: ClusterConfig, key: Key, spec: Spec) -> list[str]:
    region, project = f"--region={config.region}", f"--project={config.project}"
    match key.kind:
        case "apis":
            return [line("services enable", *spec["services"], project)]
        case "network":
            return [line("compute networks create", key.name, "--subnet-mode=custom", _about(spec), project)]
        case "subnetwork":
            ranges = ",".join(f"{item['rangeName']}={item['ipCidrRange']}" for item in spec["secondaryIpRanges"])
            return [
                line(
                    "compute networks subnets create",
                    key.name,
                    f"--network={config.name}",
                    f"--range={spec['ipCidrRange']}",
                    f"--secondary-range={ranges}",
                    "--enable-private-ip-google-access",
                    _about(spec),
                    region,
                    project,
                )
            ]
        case "router":
            return [
                line("compute routers create", key.name, f"--network={config.name}", _about(spec), region, project),
                nat(config, key, "create"),
            ]
        case "firewall":
            flags = [f"--network={config.name}", "--direction=INGRESS", *_all(firewall(spec)), _about(spec)]
            return [line("compute firewall-rules create", key.name, *flags, project)]
        case "service-account":
            return [
                line(
                    "iam service-accounts create",
                    key.name,
                    f"--display-name={spec['displayName']}",
                    _about(spec),
                    project,
                )
            ]
        case "grant":
            return [_grant(config, spec, "add")]
        case "bucket":
            return [
                line(
                    "storage buckets create",
                    f"gs://{key.name}",
                    f"--location={spec['location']}",
                    "--uniform-bucket-level-access",
                    "--public-access-prevention",
                    project,
                ),
                line("storage buckets update", f"gs://{key.name}", "--versioning", f"--update-labels={_pairs(spec)}"),
                lifecycle(key, spec),
            ]
        case "repository":
            about = [_about(spec), f"--labels={_pairs(spec)}", f"--location={config.region}", project]
            return [
                line("artifacts repositories create", key.name, "--repository-format=docker", *about),
                cleanup(config, key, spec),
            ]
        case "secret":
            flag = f"--labels={_pairs(spec)}"
            return [line("secrets create", key.name, "--replication-policy=automatic", flag, project)]
        case "secret-version":
            return [f'printf %s "$HF_TOKEN" | {line("secrets versions add", key.name, "--data-file=-", project)}']
        case "cluster":
            return cluster(config, spec)
        case "node-pool":
            return pool(config, key, spec)
        case "channel":
            email = spec["labels"]["email_address"]
            flags = ["--type=email", f"--display-name={spec['displayName']}", f"--channel-labels=email_address={email}"]
            return [
                line("beta monitoring channels create", *flags, f"--user-labels={labels(spec['userLabels'])}", project)
            ]
        case "alert":
            return [line("alpha monitoring policies create", f"--policy={json.dumps(spec)}", project) + _told(config)]
        case "dashboard":
            return [line("monitoring dashboards create", f"--config={dashboard(config, key, spec)}", project)]
        case "budget":
            flags = [*_all(budget(config, spec)), *thresholds(spec, "--threshold-rule")]
            return [line("billing budgets create", "--billing-account=ACCOUNT", *flags)]
        case _:
            return [f"# {key}: gcloud has no command for it"]


def _delete(config: ClusterConfig, action: Action) -> list[str]:
    kind, name = action.key
    if kind == "grant":
        return [_grant(config, action.found.spec if action.found else action.spec, "remove")]
    found: dict[str, Any] = dict(action.found.facts) if action.found else {}
    zone = action.found.spec.get("zone", "") if action.found else ""
    command = {
        "cluster": f"container clusters delete {name} --location={config.location}",
        "node-pool": f"container node-pools delete {name} --cluster={config.name} --location={config.location}",
        "bucket": f"storage rm --recursive --all-versions gs://{name}",
        "network": f"compute networks delete {name}",
        "subnetwork": f"compute networks subnets delete {name} --region={config.region}",
        "router": f"compute routers delete {name} --region={config.region}",
        "firewall": f"compute firewall-rules delete {name}",
        "disk": f"compute disks delete {name} --zone={zone}",
        "service-account": f"iam service-accounts delete {name}@{config.project}.iam.gserviceaccount.com",
        "repository": f"artifacts repositories delete {name} --location={config.region}",
        "secret": f"secrets delete {name}",
        "alert": f"alpha monitoring policies delete {found.get('name', name)}",
        "channel": f"beta monitoring channels delete {found.get('name', name)}",
        "dashboard": f"monitoring dashboards delete switchyard-{name}",
        "budget": f"billing budgets delete {found.get('name', name)}",
    }[kind]
    return [f"gcloud {command} --project={config.project}"]


def _grant(config: ClusterConfig, spec: Spec, verb: str) -> str:
    resource = spec["resource"]
    command = {
        "project": ["projects", resource],
        "bucket": ["storage buckets", f"gs://{resource}"],
        "secret": ["secrets", resource],
        "repository": ["artifacts repositories", resource],
        "service-account": ["iam service-accounts", f"{resource}@{config.project}.iam.gserviceaccount.com"],
    }[spec["on"]]
    flags = [f"--member={spec['member']}", f"--role={spec['role']}"]
    if spec["on"] == "repository":
        flags.append(f"--location={config.region}")
    if spec["on"] in ("secret", "repository", "service-account"):
        flags.append(f"--project={config.project}")
    if spec["on"] == "project":
        flags.append("--condition=None")
    return line(f"{command[0]} {verb}-iam-policy-binding", command[1], *flags)


def _told(config: ClusterConfig) -> str:
    """The channel gets its name from Google when it is made: the shell asks for it."""
    if not config.alerts.email:
        return ""
    wanted = [f'--filter=displayName="{config.name} alerts"', "--limit=1", "--format=value(name)"]
    asked = line("beta monitoring channels list", *wanted, f"--project={config.project}")
    return f' --notification-channels="$({asked})"'


def _all(fields: dict[str, list[str]]) -> list[str]:
    return [flag for flags in fields.values() for flag in flags]


def _about(spec: Spec) -> str:
    return f"--description={spec['description']}"


def _pairs(spec: Spec) -> str:
    return labels(spec["labels"])
