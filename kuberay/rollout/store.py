"""Keeps the records of a service's revisions in its namespace, a ConfigMap each; see :mod:`kuberay.rollout.record`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence

from kuberay.api.client import Api
from kuberay.api.kinds import CONFIGMAP, RAYCLUSTER
from kuberay.errors import Conflict, NotFound, Refused
from kuberay.manifests.rayservice import Json
from kuberay.names import INSTANCE_LABEL, SERVICE_LABEL, ours, release_name
from kuberay.rollout.record import (
    Kind,
    Outcome,
    Place,
    Record,
    Verb,
    Wish,
    from_json,
    to_json,
    wish_from_json,
    wish_to_json,
)
from kuberay.rollout.seen import Seen
from kuberay.snapshot import Object, dig, release_of

REVISION_LABEL = "switchyard.dev/revision"
KEEP = 10
"""Revisions that are kept beside the one that serves."""
OURS = ("name", "namespace", "labels", "annotations")


class Store:
    """The revisions of one service."""

    def __init__(self, api: Api, namespace: str, service: str) -> None:
        self._api, self._namespace, self.service = api, namespace, service

    def now(self) -> str:
        """The API server's time, as records have it."""
        return self._api.clock.now().isoformat(timespec="milliseconds")

    def name(self, number: int) -> str:
        """Of a revision's ConfigMap."""
        return f"{self.service}-revision-{number}"

    def all(self) -> list[Record]:
        """Every revision, oldest first. One that nobody can read is left out."""
        selector = f"{INSTANCE_LABEL}={self.service},{REVISION_LABEL}"
        return records(self._api.list(CONFIGMAP, self._namespace, selector=selector))

    def read(self, number: int) -> Record:
        """One revision.

        Raises:
            Refused: there is none of that number.
        """
        return self.kept(number)[0]

    def kept(self, number: int) -> tuple[Record, dict[str, str]]:
        """One revision, and all that is kept of it, by key.

        Raises:
            Refused: there is none of that number.
        """
        item = self._object(number)
        found = read(item)
        if found is None:
            raise Refused(f"{self.name(number)} in {self._namespace} cannot be read as a revision. Was it changed?")
        return found, dig(item, "data", default={})

    def objects(self, number: int) -> list[Json]:
        """What was applied, in the order it was.

        Raises:
            Refused: there is no such revision, or its objects cannot be read.
        """
        found = objects_of(dig(self._object(number), "data", "objects.json", default=""))
        if found is None:
            raise Refused(f"The objects of revision {number} cannot be read: {self.name(number)} was changed.")
        return found

    def create(self, record: Record, objects: Sequence[Json], settings: str) -> None:
        """Keep a new revision.

        Raises:
            Refused: somebody else made one of that number first.
        """
        labels = {**ours(self.service), REVISION_LABEL: str(record.number)}
        data = {"record.json": to_json(record), "objects.json": json.dumps(list(objects)), "settings.json": settings}
        about = {"name": self.name(record.number), "namespace": self._namespace, "labels": labels}
        try:
            self._api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data})
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise
            raise Refused(
                f"Somebody else began revision {record.number} of {self.service} at the same moment. "
                "switchyard history shows it."
            ) from None

    def write(self, record: Record) -> None:
        """Keep what has become of a revision. For whoever holds the lease."""
        self.put(record.number, "record.json", to_json(record))

    def wish(self, number: int, wish: Wish) -> None:
        """Say what is wanted of a revision that runs. An abort is final: no promotion takes its place.

        Raises:
            Refused: somebody has aborted it, and it was to be promoted.
        """
        while True:
            item = self._object(number)
            there = wish_from_json(dig(item, "data", "wish.json"))
            if there.verb is Verb.ABORT and wish.verb is not Verb.ABORT:
                why = f" ({there.reason})" if there.reason else ""
                raise Refused(f"Revision {number} was aborted by {there.by}{why}. Nothing was changed.")
            seen = {"resourceVersion": item["metadata"]["resourceVersion"]}
            with contextlib.suppress(Conflict):  # it was written meanwhile: look again
                change = {"metadata": seen, "data": {"wish.json": wish_to_json(wish)}}
                self._api.patch(CONFIGMAP, self.name(number), self._namespace, change)
                return

    def put(self, number: int, key: str, text: str) -> None:
        """Keep a text beside the record."""
        self._api.patch(CONFIGMAP, self.name(number), self._namespace, {"data": {key: text}})

    def adopt(self, service: Object, seen: Seen, known: Sequence[Record]) -> Place:
        """What serves now, with a record of its objects: made here where nothing has been kept of it yet."""
        release = seen.release_of(seen.active)
        if not seen.active:
            return Place()
        for one in reversed(known):
            if (
                one.green.release == release
                and one.outcome is not Outcome.ABORTED
                and one.outcome is not Outcome.FAILED
            ):
                return Place(one.green.revision, release, seen.active)
        if seen.spec_release != release:  # what serves is not what is asked for, so its objects are nowhere
            return Place(0, release, seen.active)
        number = max((one.number for one in known), default=0) + 1
        found = Record(
            number,
            self.service,
            Kind.FOUND,
            Place(number, release, seen.active),
            strategy=seen.strategy,
            began=dig(service, "metadata", "creationTimestamp", default=""),
            outcome=Outcome.SERVES,
            why="it served before there were records",
        )
        about = {key: service["metadata"][key] for key in OURS if key in service["metadata"]}
        kept = {
            "apiVersion": service["apiVersion"],
            "kind": service["kind"],
            "metadata": about,
            "spec": service["spec"],
        }
        self.create(found, [kept], "{}")
        return found.green

    def prune(self, keep: int = KEEP) -> list[str]:
        """Delete the oldest revisions, and the releases that no revision and no cluster needs; what was deleted."""
        known = self.all()
        serving = [one for one in known if one.outcome is Outcome.SERVES][-1:]
        recent = known[-keep:]
        wanted = {one.green.revision for one in [*serving, *recent]} | {one.blue.revision for one in recent}
        old = [one for one in known if one not in recent and one.number not in wanted]
        needed = {one.green.release for one in known if one not in old}
        selector = f"{SERVICE_LABEL}={self.service}"
        for cluster in self._api.list(RAYCLUSTER, self._namespace, selector=selector):
            needed.add(release_of(cluster))
        names = [self.name(one.number) for one in old]
        names += [release_name(self.service, release) for release in {one.green.release for one in old} - needed]
        for name in names:
            try:
                self._api.delete(CONFIGMAP, name, self._namespace)
            except NotFound:
                continue
        return names

    def _object(self, number: int) -> Json:
        try:
            return self._api.get(CONFIGMAP, self.name(number), self._namespace)
        except NotFound:
            raise Refused(
                f"{self.service} has no revision {number}. switchyard history lists those that are kept."
            ) from None


def records(items: Iterable[Object]) -> list[Record]:
    """The records in ConfigMaps, oldest first."""
    return sorted((one for item in items if (one := read(item))), key=lambda one: one.number)


def objects_of(text: str) -> list[Json] | None:
    """A revision's objects as its ConfigMap holds them; None where nobody can read them."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def read(item: Object) -> Record | None:
    """The record in a ConfigMap; None where there is none."""
    try:
        return from_json(dig(item, "data", "record.json", default=""), dig(item, "data", "wish.json"))
    except ValueError:
        return None
