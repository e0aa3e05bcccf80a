"""What doctor says of each cause, apart from how it is seen. ``{names}`` are filled in by ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping

from kuberay.doctor.causes.texts import engine, images, model, pods, ray, scheduling, service, traffic
from kuberay.doctor.findings import Cause

_FILES = (service, scheduling, images, pods, ray, model, engine, traffic)

CAUSES: Mapping[str, Cause] = {one.id: one for file in _FILES for one in file.CAUSES}
