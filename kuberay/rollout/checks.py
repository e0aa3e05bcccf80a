"""Sends a validation's requests and writes down what came back. Edge: aiohttp, through ``bench.client``.

A server's fault never raises: it is in the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kuberay.rollout.evidence import Evidence
from kuberay.rollout_config import GoldenPrompt, Rollout


@dataclass(frozen=True)
class Place:
    """Where one release can be asked.

    Attributes:
        url: such as ``http://127.0.0.1:41231``, of :meth:`kuberay.api.Api.forward`.
        label: for texts, ``green`` or ``blue``.
        release: the id that ``/release`` and every answer must name.
        model: the served name.
        api_key: sent with every request; never shown.
        ready: the release's ready endpoints; None where nobody counted.
        embeds: it is a model for embeddings.
    """

    url: str
    label: str
    release: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    ready: int | None = None
    embeds: bool = False


@dataclass(frozen=True)
class Warmed:
    """What warming up did.

    Attributes:
        sent, failed: requests.
        seconds: how long it took.
        text: in a sentence.
    """

    sent: int
    failed: int
    seconds: float
    text: str


def gather(
    settings: Rollout,
    green: Place,
    blue: Place | None,
    *,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda text: None,
) -> Evidence:
    """Send what the settings ask for to ``green``, and to ``blue`` beside it.

    Args:
        blue: the release that serves; None on a first install.
        stop: asked between requests; once it is true, what has been measured is returned.
        report: told each check's beginning, in a few words.
    """
    raise NotImplementedError


def warm(
    settings: Rollout, green: Place, recent: Sequence[str] = (), *, stop: Callable[[], bool] = lambda: False
) -> Warmed:
    """Fill ``green``'s caches with the configured prompts and the ``recent`` ones, the most recent last."""
    raise NotImplementedError


def golden_failures(prompts: Sequence[GoldenPrompt], place: Place, *, timeout_s: float = 60) -> list[str]:
    """Ask the golden prompts; a sentence for each one answered wrongly. For the watch after a switch."""
    raise NotImplementedError
