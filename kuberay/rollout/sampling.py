"""Reads what the pods of a cluster have counted: HAProxy's and vLLM's metrics, through the API server. Edge."""

from __future__ import annotations

from collections.abc import Iterable

from kuberay.api import Api
from kuberay.rollout.slo import Sample


def sample(api: Api, namespace: str, pods: Iterable[str], *, at: float) -> list[Sample]:
    """One sample a ready worker pod; pods that do not answer are left out.

    Args:
        pods: names of the cluster's ready worker pods.
        at: the time to write down, s.
    """
    raise NotImplementedError
