"""What doctor says of each cause, apart from how it is seen. ``{names}`` are filled in by ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping

from kuberay.causes.texts import engine, model, pods, ray, scheduling, service
from kuberay.findings import Cause

CAUSES: Mapping[str, Cause] = {
    one.id: one
    for one in (*service.CAUSES, *scheduling.CAUSES, *pods.CAUSES, *ray.CAUSES, *model.CAUSES, *engine.CAUSES)
}
