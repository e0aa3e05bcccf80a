"""The gcloud commands that change in place what exists, and what creating shares with them. Pure."""

from __future__ import annotations

import json
import shlex

from cluster.config import ClusterConfig
from cluster.model import Action, Change, Key, Spec
from cluster.plan.explain_gke import addon_updates, cluster_flags, labels, line, pool_flags


def update(config: ClusterConfig, action: Action) -> list[str]:
    """The commands for the changed fields; a comment for each that gcloud cannot change."""
    key, spec, project = action.key, action.spec, f"--project={config.project}"
    match key.kind:
        case "apis":
            have: list[str] = action.found.spec.get("services", []) if action.found else []
            return [line("services enable", *(name for name in spec["services"] if name not in have), project)]
        case "cluster":
            command = ["container clusters update", key.name, f"--location={config.location}", project]
            ray = "addonsConfig.rayOperatorConfig.rayCluster"
            fields = {
                **cluster_flags(spec),
                "addonsConfig": [addon_updates(spec)],
                f"{ray}LoggingConfig": ["--enable-ray-cluster-logging"],
                f"{ray}MonitoringConfig": ["--enable-ray-cluster-monitoring"],
            }
            # GKE takes one kind of change a call.
            return _each(action, command, {**fields, **_cluster_labels(action)})
        case "node-pool":
            place = [f"--cluster={config.name}", f"--location={config.location}"]
            return _each(action, ["container node-pools update", key.name, *place, project], pool_flags(spec))
        case "alert":
            return [line("alpha monitoring policies update", _name(action), f"--policy={json.dumps(spec)}", project)]
        case "dashboard":
            body = dashboard(config, key, spec)
            return [line("monitoring dashboards update", f"switchyard-{key.name}", f"--config={body}", project)]
        case "router":
            return _router(config, action)
        case _:
            command, fields = _command(config, action)
            files = {"lifecycle": lifecycle(key, spec)} if key.kind == "bucket" else {}
            if key.kind == "repository":
                files = {"cleanupPolicies": cleanup(config, key, spec)}
            return _together(action, [*command, project], fields, files)


def lifecycle(key: Key, spec: Spec) -> str:
    """The bucket's rules; gcloud opens the file by its real path, so that it must be one."""
    rules = shlex.quote(json.dumps(spec["lifecycle"]))
    command = line("storage buckets update", f"gs://{key.name}", "--lifecycle-file=lifecycle.json")
    return f"printf %s {rules} > lifecycle.json && {command}"


def cleanup(config: ClusterConfig, key: Key, spec: Spec) -> str:
    """The repository's policies, in the words of gcloud's file: ``name`` for the id, the action as an object."""
    policies = [
        {
            "name": policy["id"],
            "action": {"type": policy["action"].title()},
            **{name: value for name, value in policy.items() if name not in ("id", "action")},
        }
        for policy in spec["cleanupPolicies"].values()
    ]
    flags = [f"--location={config.region}", "--policy=-", f"--project={config.project}"]
    command = line("artifacts repositories set-cleanup-policies", key.name, *flags)
    return f"printf %s {shlex.quote(json.dumps(policies))} | {command}"


def dashboard(config: ClusterConfig, key: Key, spec: Spec) -> str:
    """The dashboard's JSON, with the name under which it is looked for."""
    return json.dumps({"name": f"projects/{config.project}/dashboards/switchyard-{key.name}", **spec})


def _command(config: ClusterConfig, action: Action) -> tuple[list[str], dict[str, list[str]]]:
    """The command of a kind, and field -> flags."""
    key, spec = action.key, action.spec
    pairs = labels(spec.get("labels", {}))
    about = {"description": [f"--description={spec.get('description', '')}"]}
    match key.kind:
        case "bucket":
            fields = {
                "labels": [f"--update-labels={pairs}"],
                "iamConfiguration": ["--uniform-bucket-level-access", "--public-access-prevention"],
                "versioning": ["--versioning"],
                "storageClass": [f"--default-storage-class={spec['storageClass']}"],
            }
            return ["storage buckets update", f"gs://{key.name}"], fields
        case "firewall":
            return ["compute firewall-rules update", key.name], {**firewall(spec), **about}
        case "subnetwork":
            fields = {"privateIpGoogleAccess": ["--enable-private-ip-google-access"]}
            return ["compute networks subnets update", key.name, f"--region={config.region}"], fields
        case "repository":
            fields = {"labels": [f"--update-labels={pairs}"], **about}
            return ["artifacts repositories update", key.name, f"--location={config.region}"], fields
        case "secret":
            return ["secrets update", key.name], {"labels": [f"--update-labels={pairs}"]}
        case "service-account":
            email = f"{key.name}@{config.project}.iam.gserviceaccount.com"
            fields = {"displayName": [f"--display-name={spec['displayName']}"], **about}
            return ["iam service-accounts update", email], fields
        case "channel":
            fields = {
                "displayName": [f"--display-name={spec['displayName']}"],
                "labels": [f"--update-channel-labels={pairs}"],
                "userLabels": [f"--update-user-labels={labels(spec['userLabels'])}"],
            }
            return ["beta monitoring channels update", _name(action)], fields
        case "budget":
            return ["billing budgets update", _name(action)], {
                **budget(config, spec),
                "thresholdRules": ["--clear-threshold-rules", *thresholds(spec, "--add-threshold-rule")],
            }
        case _:
            return [], {}  # nothing of these can change in place


def firewall(spec: Spec) -> dict[str, list[str]]:
    """Field of a firewall rule -> its flags."""
    allow = ",".join(f"{rule['IPProtocol']}:{port}" for rule in spec["allowed"] for port in rule["ports"])
    return {
        "allowed": [f"--allow={allow}"],
        "sourceRanges": [f"--source-ranges={','.join(spec['sourceRanges'])}"],
        "targetTags": [f"--target-tags={','.join(spec['targetTags'])}"],
    }


def budget(config: ClusterConfig, spec: Spec) -> dict[str, list[str]]:
    """Field of a budget -> its flags, the thresholds apart."""
    amount = spec["amount"]["specifiedAmount"]
    return {
        "displayName": [f"--display-name={spec['displayName']}"],
        "amount": [f"--budget-amount={amount['units']}{amount['currencyCode']}"],
        "budgetFilter": [f"--filter-projects=projects/{config.project}"],
    }


def thresholds(spec: Spec, flag: str) -> list[str]:
    """A flag a threshold; creating and updating call it differently."""
    return [f"{flag}=percent={rule['thresholdPercent']}" for rule in spec["thresholdRules"]]


def _router(config: ClusterConfig, action: Action) -> list[str]:
    nats = action.found.spec.get("nats") if action.found else None
    return [
        nat(config, action.key, "update" if nats else "create")
        if change.path.startswith("nats")
        else _cannot(action.key, change)
        for change in action.changes
    ]


def nat(config: ClusterConfig, key: Key, verb: str) -> str:
    """NAT for all of the network, with addresses that Google chooses."""
    flags = [f"--router={key.name}", "--auto-allocate-nat-external-ips", "--nat-all-subnet-ip-ranges"]
    place = [f"--region={config.region}", f"--project={config.project}"]
    return line(f"compute routers nats {verb}", "nat", *flags, *place)


def _cluster_labels(action: Action) -> dict[str, list[str]]:
    found = {"resourceLabels": [f"--update-labels={labels(action.spec['resourceLabels'])}"]}
    for change in action.changes:
        if change.path.startswith("resourceLabels.") and change.want is None:
            found[change.path] = [f"--remove-labels={change.path.removeprefix('resourceLabels.')}"]
    return found


def _each(action: Action, command: list[str], fields: dict[str, list[str]]) -> list[str]:
    """A command a field."""
    found = [
        _cannot(action.key, change) if flags is None else line(*command, *flags)
        for change in action.changes
        for flags in [_flags(fields, change)]
    ]
    return list(dict.fromkeys(found))  # two changes may be below one field


def _together(action: Action, command: list[str], fields: dict[str, list[str]], files: dict[str, str]) -> list[str]:
    """One command for all fields, and one for each that goes in a file."""
    flags: list[str] = []
    rest: list[str] = []
    for change in action.changes:
        top = change.path.split(".")[0]
        if top in files:
            rest.append(files[top])
        elif (found := _flags(fields, change)) is None:
            rest.append(_cannot(action.key, change))
        else:
            flags += found
    return [*([line(*command, *dict.fromkeys(flags))] if flags else []), *dict.fromkeys(rest)]


def _flags(fields: dict[str, list[str]], change: Change) -> list[str] | None:
    """Those of the longest field that the change is in."""
    within = [field for field in fields if change.path == field or change.path.startswith(f"{field}.")]
    return fields[max(within, key=len)] if within else None


def _cannot(key: Key, change: Change) -> str:
    return f"# {key}: gcloud has no flag for {change.path}: {json.dumps(change.want)}"


def _name(action: Action) -> str:
    """What Google calls it."""
    return str(action.existing.facts["name"])
