"""Reads what is kept of revisions, for those who look back at them. Edge."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from kuberay.api.client import Api
from kuberay.api.kinds import CONFIGMAP
from kuberay.errors import NotFound, Refused
from kuberay.manifests.rayservice import Json
from kuberay.names import release_name
from kuberay.rollout.proof.between import Side
from kuberay.rollout.proof.during import loads
from kuberay.rollout.proof.story import Story, tell
from kuberay.rollout.record import Place
from kuberay.rollout.store import Store


def story(api: Api, namespace: str, service: str, number: int | None) -> Story:
    """The story of a revision; None: of the newest.

    Raises:
        Refused: there is no such revision.
    """
    store = Store(api, namespace, service)
    if number is None:
        known = store.all()
        if not known:
            raise Refused(f"No revision of {service} has been kept. switchyard rollout makes the first.")
        number = known[-1].number
    record, data = store.kept(number)
    old = _side(api, namespace, store, record.blue) if record.blue.release else Side(0, "")
    return tell(record, data, loads(data), old, _side(api, namespace, store, record.green))


def side(api: Api, namespace: str, service: str, number: int) -> Side:
    """What a revision applied.

    Raises:
        Refused: there is no such revision, or what it applied cannot be read.
    """
    store = Store(api, namespace, service)
    green = store.read(number).green
    found = _side(api, namespace, store, green)
    if not found.objects:
        raise Refused(
            f"Of revision {number}, only the record is kept: its objects were those of revision {green.revision}."
        )
    return replace(found, number=number)


def _side(api: Api, namespace: str, store: Store, place: Place) -> Side:
    """The objects of a release, and what its pods read, which a release that was found has in the cluster only."""
    objects: list[Json] = []
    if place.revision:
        try:
            objects = store.objects(place.revision)
        except Refused:  # pruned meanwhile
            objects = []
    whole = len(objects) > 1
    name = release_name(store.service, place.release)
    if not any(one["metadata"]["name"] == name for one in objects):
        with contextlib.suppress(NotFound):
            objects.append(api.get(CONFIGMAP, name, namespace))
    return Side(place.revision, place.release, tuple(objects), whole)
