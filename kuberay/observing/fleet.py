"""The objects of many services, sorted into a snapshot a service. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kuberay.look.objects import label, name_of, text
from kuberay.names import CLUSTER_LABEL, SERVICE_LABEL
from kuberay.snapshot import Object, Snapshot


def split(objects: Iterable[Object], *, taken: str, context: str) -> list[Snapshot]:
    """Many services' objects, from one list a kind, as a snapshot a service, in one pass over them.

    Objects that belong to no RayService (nodes, CRDs, the operator) are left out: a table does not need them.
    """
    services: list[tuple[str, str]] = []
    owner: dict[tuple[str, str], str] = {}  # (namespace, RayCluster) -> RayService
    rest: list[Object] = []
    mine: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for item in objects:
        kind, key = text(item, "kind"), (text(item, "metadata", "namespace"), name_of(item))
        if kind == "RayService":
            services.append(key)
            mine[key].append(item)
        elif kind == "RayCluster":
            owner[key] = label(item, SERVICE_LABEL)
            mine[key[0], owner[key]].append(item)
        else:
            rest.append(item)
    known = set(services)
    for item in rest:
        namespace = text(item, "metadata", "namespace")
        cluster = label(item, CLUSTER_LABEL)
        service = owner.get((namespace, cluster), "") if cluster else ""
        if not service:
            # KubeRay's Services, their EndpointSlices and our ConfigMaps carry the service's name in theirs.
            name = label(item, "kubernetes.io/service-name") or label(item, SERVICE_LABEL) or name_of(item)
            candidates = (name, name.removesuffix("-serve-svc"), name.split("-release-")[0])
            service = next((one for one in candidates if (namespace, one) in known), "")
        if (namespace, service) in known:
            mine[namespace, service].append(item)
    return [
        Snapshot(taken=taken, context=context, namespace=namespace, name=name, objects=tuple(mine[namespace, name]))
        for namespace, name in sorted(services)
    ]
