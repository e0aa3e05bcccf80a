"""Compute Engine's and Cloud Storage's JSON APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from google.iam.v1 import policy_pb2
from google.protobuf import json_format

from tests.cluster.fakes.iam import check_policy
from tests.cluster.fakes.project import FakeGoogle, Fault

Answer = tuple[int, dict[str, Any]]
HOST = "https://www.googleapis.com/compute/v1/"
USES = {"networks": ("subnetworks", "routers", "firewalls"), "subnetworks": ()}


def rest(fake: FakeGoogle) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """One function that answers every request."""
    made = _Rest(fake)

    def answer(method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        try:
            with fake.lock:
                data = json.loads(body) if body and body.strip().startswith(b"{") else {}
                return made.answer(method, path, query, data)
        except Fault as fault:
            item = {"reason": fault.reason or "backendError", "message": fault.message, "domain": "global"}
            error: dict[str, Any] = {"code": fault.status, "message": fault.message, "errors": [item]}
            if fault.reason == "SERVICE_DISABLED":  # Google's front end says it in this form, for every API
                kind = "type.googleapis.com/google.rpc.ErrorInfo"
                info = {"@type": kind, "reason": fault.reason, "domain": "googleapis.com", "metadata": fault.metadata}
                error["details"] = [info]
            return fault.status, {"error": error}

    return answer


class _Rest:
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake = fake

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        compute = path.startswith("/compute/v1/projects/")
        name = _name(method, path)
        self._fake.begin(name, method != "GET", {**body, "_path": path})
        self._fake.need_api("compute.googleapis.com" if compute else "storage.googleapis.com")
        if compute:
            project, _, rest = path.removeprefix("/compute/v1/projects/").partition("/")
            if project != self._fake.project:
                raise Fault(404, f"The resource 'projects/{project}' was not found", "notFound")
            done = self._compute(method, rest, query, body)
        else:
            done = self._storage(method, path.removeprefix("/storage/v1/"), query, body)
        self._fake.end(name)
        return done

    # Compute Engine

    def _compute(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        fake = self._fake
        if path == "":
            limit, usage = fake.all_regions_gpus
            quota = {"metric": "GPUS_ALL_REGIONS", "limit": limit, "usage": usage}
            return 200, {"name": fake.project, "quotas": [quota]}
        if path == "regions":
            return 200, {"items": [self._region(name) for name in sorted(fake.quotas)]}
        if path == "aggregated/acceleratorTypes":
            return 200, {"items": self._accelerators()}
        if path == "aggregated/disks":
            return 200, {"items": self._disks()}
        if match := re.fullmatch(r"(?:global|regions/[^/]+|zones/[^/]+)/operations/(.+)", path):
            return 200, self._operation(match[1])
        where, collection, name = self._split(path)
        stored = f"{where}/{collection}/{name or body.get('name')}"
        link = f"{HOST}projects/{fake.project}/{stored}"
        if method == "POST" and path.endswith("/setPrivateIpGoogleAccess"):
            fake.compute[f"{where}/{collection}/{name}"]["privateIpGoogleAccess"] = body["privateIpGoogleAccess"]
            return 200, self._started(where, link)
        if method == "POST":
            if stored in fake.compute:
                raise Fault(409, f"The resource '{stored}' already exists", "alreadyExists")
            self._needs_network(body)
            fake.compute[stored] = {**_with_urls(body), "selfLink": link}
            return 200, self._started(where, link)
        if stored not in fake.compute:
            raise Fault(404, f"The resource 'projects/{fake.project}/{stored}' was not found", "notFound")
        if method == "GET":
            return 200, {**fake.compute[stored], **self._inside(collection, name)}
        if method == "PATCH":
            fake.compute[stored] |= _with_urls(body)
            return 200, self._started(where, link)
        self._unused(collection, name, link)
        del fake.compute[stored]
        return 200, self._started(where, link)

    def _inside(self, collection: str, name: str) -> dict[str, Any]:
        """What Google adds to a network: the URLs of its subnetworks."""
        if collection != "networks":
            return {}
        subnets = [
            item["selfLink"]
            for path, item in self._fake.compute.items()
            if "/subnetworks/" in path and str(item.get("network", "")).endswith(f"/{name}")
        ]
        return {"subnetworks": subnets} if subnets else {}

    def _split(self, path: str) -> tuple[str, str, str]:
        parts = path.split("/")
        if parts[0] == "global":
            return "global", parts[1], parts[2] if len(parts) > 2 else ""
        return f"{parts[0]}/{parts[1]}", parts[2], parts[3] if len(parts) > 3 else ""

    def _started(self, where: str, link: str) -> dict[str, Any]:
        running = self._fake.start(8, lambda: None, link)
        return self._operation(running.name, where)

    def _operation(self, name: str, where: str = "") -> dict[str, Any]:
        running = self._fake.operations.get(name)
        if running is None:
            raise Fault(404, f"operation {name} was not found", "notFound")
        answer: dict[str, Any] = {"name": name, "status": "DONE" if running.over else "RUNNING"}
        if where.startswith(("regions/", "zones/")):
            kind, place = where.split("/")
            answer[kind.removesuffix("s")] = f"{HOST}projects/{self._fake.project}/{where}"
            assert place
        if running.over and running.error:
            answer["error"] = {"errors": [{"code": running.error[2], "message": running.error[1]}]}
        return answer

    def _region(self, name: str) -> dict[str, Any]:
        quotas = [
            {"metric": metric, "limit": limit, "usage": usage}
            for metric, (limit, usage) in self._fake.quotas[name].items()
        ]
        return {"name": name, "quotas": quotas}

    def _accelerators(self) -> dict[str, Any]:
        zones: dict[str, list[dict[str, str]]] = {}
        for name, places in self._fake.accelerators.items():
            for zone in places:
                zones.setdefault(f"zones/{zone}", []).append({"name": name})
        return {zone: {"acceleratorTypes": items} for zone, items in zones.items()}

    def _disks(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, disk in self._fake.compute.items():
            if "/disks/" in path:
                zone = path.split("/disks/")[0]
                item = {**disk, "zone": f"{HOST}projects/{self._fake.project}/{zone}"}
                found.setdefault(zone, {"disks": []})["disks"].append(item)
        return found

    def _needs_network(self, body: dict[str, Any]) -> None:
        network = body.get("network", "")
        if network and f"global/networks/{network.rsplit('/', 1)[-1]}" not in self._fake.compute:
            raise Fault(404, f"The resource '{network}' was not found", "notFound")

    def _unused(self, collection: str, name: str, link: str) -> None:
        users = [
            path
            for path, item in self._fake.compute.items()
            if collection == "networks" and str(item.get("network", "")).endswith(f"/{name}")
        ]
        users += [
            path
            for path, cluster in self._fake.clusters.items()
            if (collection == "networks" and cluster.network == name)
            or (collection == "subnetworks" and cluster.subnetwork == name)
        ]
        if users:
            text = f"The {collection} resource '{link}' is already being used by '{users[0]}'"
            raise Fault(400, text, "resourceInUseByAnotherResource")

    # Cloud Storage

    def _storage(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        fake, parts = self._fake, path.split("/")
        if parts == ["b"]:
            if method == "GET":
                return 200, {"kind": "storage#buckets", "items": [_public(item) for item in fake.buckets.values()]}
            name = body["name"]
            if name in fake.buckets or name in fake.foreign_buckets:
                text = "The requested bucket name is not available. The bucket namespace is shared by all users."
                raise Fault(409, text if name in fake.foreign_buckets else "You already own this bucket.", "conflict")
            fake.buckets[name] = {**body, "metageneration": "1", "_objects": {}}
            return 200, _public(fake.buckets[name])
        name = parts[1]
        if name in fake.foreign_buckets:
            raise Fault(403, f"you do not have storage.buckets.get access to {name}", "forbidden")
        if name not in fake.buckets:
            raise Fault(404, "The specified bucket does not exist.", "notFound")
        bucket = fake.buckets[name]
        if parts[2:] == ["iam"]:
            return 200, self._bucket_policy(name, method, body)
        if parts[2:3] == ["o"]:
            if method == "GET":
                objects = [
                    {"name": item, "bucket": name, "size": str(size), "generation": "1"}
                    for item, size in bucket["_objects"].items()
                ]
                return 200, {"kind": "storage#objects", "items": objects}
            bucket["_objects"].pop("/".join(parts[3:]))
            return 204, {}
        if method == "GET":
            return 200, _public(bucket)
        if method == "PATCH":
            bucket |= body
            return 200, _public(bucket)
        if bucket["_objects"]:
            raise Fault(409, "The bucket you tried to delete is not empty.", "conflict")
        del fake.buckets[name]
        fake.policies.pop(f"buckets/{name}", None)
        return 204, {}

    def _bucket_policy(self, name: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
        resource = f"buckets/{name}"
        now = self._fake.policies.setdefault(resource, policy_pb2.Policy(etag=b"0"))
        if method == "PUT":
            known = {key: value for key, value in body.items() if key in ("version", "bindings", "etag")}
            policy = json_format.ParseDict(known, policy_pb2.Policy())
            check_policy(self._fake, resource, policy)
            policy.etag = str(self._fake.new_id()).encode()
            self._fake.policies[resource] = now = policy
        return {"kind": "storage#policy", **json_format.MessageToDict(now)}


def _public(bucket: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in bucket.items() if not key.startswith("_")}


def _with_urls(body: dict[str, Any]) -> dict[str, Any]:
    """Google answers with whole URLs where a path was given."""
    return {key: f"{HOST}{value}" if key == "network" else value for key, value in body.items()}


def _name(method: str, path: str) -> str:
    """``compute.networks.POST``: what faults are planned by."""
    service = "compute" if path.startswith("/compute/") else "storage"
    parts = path.split("/")
    if service == "storage":
        collection = "b" if len(parts) <= 5 else parts[5]
        return f"storage.{collection}.{method}"
    where = parts[5:] if len(parts) > 5 else ["projects"]
    if where[0] == "global":
        where = where[1:]
    elif where[0] in ("regions", "zones") and len(where) > 2:
        where = where[2:]
    return f"compute.{where[0]}.{method}"
