"""Decides from the evidence whether a new release may serve. Pure.

Laws: a check that is off, or has nothing to compare with, is skipped with the reason; a check that failed, or a
validation that did not come to its end, means no.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kuberay.rollout.evidence import Evidence
from kuberay.rollout.verdict import Kind, Verdict
from kuberay.rollout_config import Rollout


def release_kind(blue: Mapping[str, Any], green: Mapping[str, Any]) -> Kind:
    """What a release is to another one, from their configurations (:func:`kuberay.release.parse`)."""
    raise NotImplementedError


def judge(evidence: Evidence, settings: Rollout, *, kind: Kind, at: str) -> Verdict:
    """The verdict.

    Args:
        kind: from :func:`release_kind`; chooses the bounds of the answers' drift.
        at: RFC 3339 time in UTC, for the verdict.
    """
    raise NotImplementedError
