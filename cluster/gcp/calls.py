"""The one place every call to Google goes through: counting, retrying, and turning its errors into ours.

Google's libraries would retry by themselves, each in its own way and with real sleeping; that is switched off
(``retry=None``), so that a retry is seen, bounded, and waits on a clock that tests can set.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.clock import Clock, RealClock
from cluster.errors import (
    ApiDisabled,
    Busy,
    ClusterError,
    Conflict,
    Denied,
    InvalidRequest,
    NoCredentials,
    NotFound,
    NotYet,
    OperationFailed,
    QuotaExceeded,
    StockOut,
    Unavailable,
)

ATTEMPTS = 6
TIMEOUT_S = 60.0
LOGIN = "Log in with: gcloud auth application-default login"


def _no_hook(name: str, write: bool, sent: bool) -> None:
    pass


def _no_word(text: str, seconds: float) -> None:
    pass


@dataclass
class Caller:
    """Makes calls.

    Attributes:
        hook: told of each call before it is sent and after it was answered (``sent``); tests kill a run from here.
        waiting: told why, and how many seconds, before a read is tried again.
        reads, writes: calls made so far.
    """

    clock: Clock = field(default_factory=RealClock)
    hook: Callable[[str, bool, bool], None] = _no_hook
    waiting: Callable[[str, float], None] = _no_word
    reads: int = 0
    writes: int = 0

    def read(self, name: str, method: Callable[..., Any], request: Any = None, *, lag: bool = True, **more: Any) -> Any:
        """A call that changes nothing; retried on 429 and 5xx.

        Args:
            lag: the API is known to be enabled, so that "not enabled" means "since a moment ago": wait for it.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._once(name, False, method, request, more)
            except (Unavailable, ApiDisabled) as error:
                if attempt == ATTEMPTS - 1 or (isinstance(error, ApiDisabled) and not lag):
                    raise
                seconds = backoff(attempt)
                self.waiting(str(error), seconds)
                self.clock.sleep(seconds)
        raise AssertionError("unreachable")

    def maybe(self, name: str, method: Callable[..., Any], request: Any = None, **more: Any) -> Any | None:
        """A :meth:`read` of what may not be there; None for 404."""
        try:
            return self.read(name, method, request, **more)
        except NotFound:
            return None

    def write(self, name: str, method: Callable[..., Any], request: Any = None, **more: Any) -> Any:
        """A call that changes something; never retried here: only who knows what it makes can tell if it was made."""
        return self._once(name, True, method, request, more)

    def _once(self, name: str, write: bool, method: Callable[..., Any], request: Any, more: dict[str, Any]) -> Any:
        if write:
            self.writes += 1
        else:
            self.reads += 1
        self.hook(name, write, False)
        with translated(name):
            arguments = more if request is None else {"request": request, **more}
            result = method(**arguments, retry=None, timeout=TIMEOUT_S)
        self.hook(name, write, True)
        return result


def backoff(attempt: int) -> float:
    """Seconds to wait before the next try: 1, 2, 4 ... 32, with up to a quarter more, so that clients do not march."""
    return min(32.0, 2.0**attempt) * (1 + random.random() / 4)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise our errors for Google's, with the cause kept."""
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except (auth.DefaultCredentialsError, auth.RefreshError, api.Unauthenticated) as error:
        raise NoCredentials(f"No usable Google credentials: {_short(error)}. {LOGIN}") from error
    except auth.TransportError as error:
        raise Unavailable(f"{name}: {_short(error)}") from error
    except api.GoogleAPICallError as error:
        raise _ours(name, error) from error
    except (api.RetryError, requests.exceptions.RequestException) as error:
        raise Unavailable(f"{name}: {_short(error)}") from error


def _ours(name: str, error: Any) -> ClusterError:
    from google.api_core import exceptions as api

    text = f"{name}: {_short(error)}"
    reason = str(getattr(error, "reason", "") or _first_reason(error))
    if isinstance(error, api.Forbidden):
        if reason in ("SERVICE_DISABLED", "accessNotConfigured"):
            about = getattr(error, "metadata", None) or {}
            command = f"gcloud services enable {about.get('service', 'an API it needs')}"
            if project := about.get("consumer", "").removeprefix("projects/"):
                command += f" --project={project}"
            return ApiDisabled(f"{text}. Enable it with: {command}")
        if reason in ("quotaExceeded", "QUOTA_EXCEEDED"):
            return QuotaExceeded(text)
        if reason == "rateLimitExceeded":
            return Unavailable(text)
        return Denied(text)
    if isinstance(error, api.NotFound):
        return NotFound(text)
    if isinstance(error, api.ResourceExhausted) and reason in ("QUOTA_EXCEEDED", "quotaExceeded"):
        return QuotaExceeded(text)
    if isinstance(error, api.TooManyRequests | api.ServerError):
        return Unavailable(text)
    if isinstance(error, api.FailedPrecondition):
        # GKE runs one operation on a cluster at a time, and says so in this way.
        return Busy(text) if reason in ("", "CLUSTER_ALREADY_HAS_OPERATION") else InvalidRequest(text)
    if isinstance(error, api.Aborted | api.Conflict | api.PreconditionFailed):
        return Conflict(text)
    if isinstance(error, api.BadRequest):
        if reason in ("resourceInUseByAnotherResource", "resourceNotReady"):
            return Busy(text)
        return NotYet(text) if "does not exist" in str(error) else InvalidRequest(text)
    return ClusterError(text)


def failed_operation(what: str, message: str, codes: list[str]) -> ClusterError:
    """The error for a long-running operation that ended badly; ``codes`` are Google's, where it gave any."""
    text = f"{what}: {message.rstrip('. ')}"
    if {"GCE_STOCKOUT", "ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"} & set(codes):
        return StockOut(
            f"{text}. Google has no such machine left there now. Try other zones (cluster.pools.NAME.zones), another "
            "machine, or again later; what was made stays and the next apply goes on from it"
        )
    if {"GCE_QUOTA_EXCEEDED", "QUOTA_EXCEEDED"} & set(codes):
        return QuotaExceeded(f"{text}. `switchyard cluster plan` shows the quota and how to ask for more")
    return OperationFailed(text)


def _first_reason(error: Any) -> str:
    """The reason in the body of a JSON API's error (Compute Engine, Cloud Storage)."""
    for item in getattr(error, "errors", None) or ():
        if isinstance(item, dict) and item.get("reason"):
            return str(item["reason"])
    return ""


def _short(error: Any) -> str:
    """The message without line breaks, cut: bodies can be whole pages of HTML."""
    text = re.sub(r"\s+", " ", str(getattr(error, "message", "") or error)).strip()
    text = re.sub(r"^(GET|POST|PUT|PATCH|DELETE) https?://\S+: ", "", text)
    return text[:300].rstrip(". ")
