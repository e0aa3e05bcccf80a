"""Off-hours: a schedule in words, the objects that carry it out inside the cluster, and the share of the week it is on.

Pure. The CronJobs set ``spec.suspend`` of one RayService: KubeRay (1.7 or newer) then deletes its pods, and the pools'
autoscaler the nodes. Their service account may get and patch that one RayService and nothing else.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.model import labels_of

DAY = 24 * 60
"""Minutes."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMED = {"weekdays": range(5), "weekends": range(5, 7), "daily": range(7)}
KUBECTL_IMAGE = "registry.k8s.io/kubectl:v1.34.2"
EXAMPLE = 'like "weekdays 08:00-20:00 Europe/Berlin" or "mon-thu 09:30-18:00 America/New_York"'


@dataclass(frozen=True)
class Hours:
    """When the service is up.

    Attributes:
        days: 0 is Monday.
        start, end: minutes of the day.
        zone: IANA time zone; Kubernetes' CronJob knows daylight saving time.
    """

    days: tuple[int, ...]
    start: int
    end: int
    zone: str

    @property
    def share_on(self) -> float:
        """Of a week."""
        return len(self.days) * (self.end - self.start) / (7 * DAY)

    def __str__(self) -> str:
        names = {tuple(days): name for name, days in NAMED.items()}
        days = names.get(self.days) or ",".join(DAYS[day] for day in self.days)
        return f"{days} {_clock(self.start)}-{_clock(self.end)} {self.zone}"


def parse(text: str) -> Hours:
    """A schedule from words.

    Raises:
        ConfigError: says which word is not understood.
    """
    match = re.fullmatch(r"\s*(\S+)\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s+(\S+)\s*", text)
    if match is None:
        raise ConfigError(f"The schedule {text!r} is not understood; write days, hours and time zone, {EXAMPLE}.")
    start, end = _minutes(match[2], match[3]), _minutes(match[4], match[5])
    if start >= end:
        raise ConfigError(
            f"The schedule {text!r} ends before it starts; hours past midnight are not supported. Write {EXAMPLE}."
        )
    if match[6] not in zoneinfo.available_timezones() or match[6] == "localtime":
        raise ConfigError(f"{match[6]!r} is no time zone of the IANA database; write {EXAMPLE}.")
    hours = Hours(_days(match[1].lower()), start, end, match[6])
    if hours.share_on == 1:
        raise ConfigError(f"The schedule {text!r} is always on; a service without a schedule is, too: use --off.")
    return hours


def objects(config: ClusterConfig, hours: Hours | None, service: str) -> list[dict[str, Any]]:
    """The Kubernetes objects that keep ``hours`` for the RayService ``service``."""
    if hours is None:
        return []
    name, namespace = job_name(service), config.namespace
    meta = {"namespace": namespace, "labels": {**labels_of(config.name), "switchyard-service": service}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **meta}}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, **meta},
        "rules": [
            {
                "apiGroups": ["ray.io"],
                "resources": ["rayservices"],
                "resourceNames": [service],
                "verbs": ["get", "patch"],
            }
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, **meta},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    whole = (hours.start, hours.end) == (0, DAY)  # then there is no edge between a day and the next
    wakes = [day for day in hours.days if not (whole and (day - 1) % 7 in hours.days)]
    sleeps = [day for day in hours.days if not (whole and (day + 1) % 7 in hours.days)]
    later = hours.end // DAY  # midnight belongs to the next day
    jobs = [
        _job(f"{name}-{what}", name, meta, _cron(at % DAY, days), hours=hours, service=service, suspend=suspend)
        for what, at, days, suspend in (
            ("wake", hours.start, wakes, False),
            ("sleep", hours.end, [day + later for day in sleeps], True),
        )
    ]
    return [account, role, binding, *jobs]


def _cron(minute: int, days: Sequence[int]) -> str:
    """Once on each of these days; cron's Sunday is 0."""
    return f"{minute % 60} {minute // 60} * * {','.join(str((day + 1) % 7) for day in days)}"


def job_name(service: str) -> str:
    """Name of the schedule's objects."""
    return f"{service}-hours"


def _job(
    name: str, account: str, meta: dict[str, Any], cron: str, *, hours: Hours, service: str, suspend: bool
) -> dict[str, Any]:
    patch = '{"spec":{"suspend":%s}}' % str(suspend).lower()  # noqa: UP031
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "kubectl",
        "image": KUBECTL_IMAGE,
        "args": ["patch", "rayservice", service, "--namespace", meta["namespace"], "--type=merge", f"--patch={patch}"],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": restricted,
    }
    pod = {
        "serviceAccountName": account,
        "restartPolicy": "OnFailure",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, **meta, "annotations": {"switchyard/hours": str(hours)}},
        "spec": {
            "schedule": cron,
            "timeZone": hours.zone,
            "concurrencyPolicy": "Replace",
            # A control plane that was away at the minute still does it, within the hour.
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"backoffLimit": 6, "template": {"spec": pod}}},
        },
    }


def _days(word: str) -> tuple[int, ...]:
    if word in NAMED:
        return tuple(NAMED[word])
    found: set[int] = set()
    for part in word.split(","):
        first, to, last = part.partition("-")
        if first not in DAYS or (to and last not in DAYS):
            raise ConfigError(f"{part!r} are no days; write weekdays, weekends, daily, mon-fri or mon,wed.")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        if end < begin:
            raise ConfigError(f"{part!r}: the last day is before the first; write sat,sun,mon.")
        found |= set(range(begin, end + 1))
    return tuple(sorted(found))


def _minutes(hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > DAY:
        raise ConfigError(f"{hour}:{minute} is no time of day.")
    return value


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
