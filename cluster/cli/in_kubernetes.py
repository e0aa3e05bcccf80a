"""What commands do inside the cluster, by its API server. Prints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cluster.cli.terminal import say, step
from cluster.errors import ApiDisabled, ClusterError, Refused
from cluster.model import Key

if TYPE_CHECKING:
    from cluster.gcp.cloud import Cloud
    from cluster.kube.client import Kube
    from cluster.load import Loaded
    from cluster.workflow import Look


def kube_of(loaded: Loaded, cloud: Cloud, found: Look | None, path: str | None) -> Kube:
    from cluster.kube.client import from_gke, from_kubeconfig

    if path:
        return from_kubeconfig(path)
    return from_gke(endpoint(loaded, cloud, found), cloud.clients)


def endpoint(loaded: Loaded, cloud: Cloud, found: Look | None = None) -> str:
    """Where the cluster's API server is; GKE is asked where no look says it."""
    there = found.observed.found.values() if found else ()
    if not found:
        with contextlib.suppress(ApiDisabled):  # there is no cluster where GKE's API was never enabled
            there = cloud.container.observe(lag=False)
    key = Key("cluster", loaded.config.name)
    endpoint = next((item.facts.get("endpoint", "") for item in there if item.key == key), "")
    if not endpoint:
        raise ClusterError(f"There is no cluster {loaded.config.name} yet; make it with: switchyard cluster apply")
    return endpoint


def do_inside(loaded: Loaded, cloud: Cloud, found: Look, manifests: str | None) -> None:
    from cluster.kube.in_cluster import apply_objects

    try:
        kube = kube_of(loaded, cloud, found, None)
        if loaded.config.ray_operator == "kuberay":
            do_operator(kube, loaded.config.kuberay_version, manifests)
        token = loaded.token or cloud.secrets.token(f"{loaded.config.name}-hf-token")
        for text in apply_objects(kube, loaded.config, token, step):
            print(f"  -- {text}")
    except ClusterError as error:
        raise type(error)(
            f"{error}\nGoogle's part is done; what is inside the cluster is not. Run apply again."
        ) from None


def check_manifests(loaded: Loaded, manifests: str | None) -> None:
    """Before the minutes that Google takes: whether the folder has the release.

    Raises:
        ClusterError: it has not.
    """
    from cluster.inside import kuberay_release as release
    from cluster.kube.client import read_release

    version = loaded.config.kuberay_version
    if manifests and loaded.config.ray_operator == "kuberay":
        for path, content in read_release(manifests, release.files(version)).items():
            release.verify(version, path, content)


def check_one_operator(loaded: Loaded, cloud: Cloud) -> None:
    """Before Google's add-on is switched on: whether KubeRay's own operator is there.

    Raises:
        Refused: it is; both would write the same RayServices.
    """
    from cluster.doctor import REMOVE_OPERATOR
    from cluster.kube.in_cluster import operator_of

    key = Key("cluster", loaded.config.name)
    if loaded.config.ray_operator == "addon":
        with contextlib.suppress(ApiDisabled):
            if key in {item.key for item in cloud.container.observe(lag=False)}:
                version = operator_of(kube_of(loaded, cloud, None, None)).version
                if version:
                    raise Refused(
                        f"KubeRay {version} is installed in the cluster, and Google's add-on would be a second "
                        f"operator for the same RayServices. Remove the first one, then apply again: {REMOVE_OPERATOR}"
                    )


def do_operator(kube: Kube, version: str, manifests: str | None, **options: Any) -> None:
    from cluster.inside import kuberay_release as release
    from cluster.kube.client import fetch_release, read_release
    from cluster.kube.in_cluster import install_operator as install

    files = release.files(version)

    def contents() -> Any:
        if manifests:
            return read_release(manifests, files)
        return fetch_release({path: release.BASE.format(version=version, path=path) for path in files})

    verdict = install(kube, version, contents, step, **options)
    print(f"  ok {verdict.text}")


def do_suspend(loaded: Loaded, cloud: Cloud, found: Look, *, value: bool) -> None:
    from cluster.kube.in_cluster import park, unpark

    try:
        (park if value else unpark)(kube_of(loaded, cloud, found, None), loaded.config.namespace, step)
    except ClusterError as error:
        # Without nodes the pods wait, and cost nothing: suspending them is tidier, no more.
        say(loaded, f"  -- RayServices are left as they are: {error}")
