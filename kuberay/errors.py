"""What can go wrong between this package and a cluster, in one tree. Pure: knows no client library.

KubeRayError                     exit 1
├── ConfigError                  the service file's ``kubernetes`` section, or what it asks for, does not work
├── Refused                      a planner found that going on would do harm; nothing was changed
├── Incomplete                   it did not get there in time; says how far it came and the likeliest cause
└── ApiError                     the API server (or a cluster's dashboard) said no
    ├── Unreachable              no answer: address, TLS, network, or a plugin that gives no credentials
    ├── Unauthorized             401  who are you
    ├── Forbidden                403  names the verb and the resource that are missing
    ├── NotFound                 404  no such object, or (``kind_missing``) no such kind: CRDs absent or too old
    ├── Conflict                 409  another field manager owns a field, or the object changed meanwhile
    └── Invalid                  422  (and 400) the API server's own findings, field by field

``str(error)`` is fit to be shown: what happened, why, what to do next. Secrets are never part of it.
"""

from __future__ import annotations


class KubeRayError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(KubeRayError):
    """The service file asks for what cannot be."""


class Refused(KubeRayError):
    """Going on would do harm; the cluster was left as it is."""


class Incomplete(KubeRayError):
    """A deadline passed, or what was waited for can no longer come."""


class ApiError(KubeRayError):
    """A request to the API server, or through it, failed.

    Attributes:
        status: HTTP status, 0 where there was no answer.
        reason: Kubernetes' machine-readable reason, e.g. ``AlreadyExists``; may be empty.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def passing(self) -> bool:
        """Asking again may help: there was no answer, or the API server is busy or restarts."""
        return self.status in (0, 429, 500, 502, 503, 504)


class Unreachable(ApiError):
    """There was no answer at all."""


class Unauthorized(ApiError):
    """The credentials were not accepted."""


class Forbidden(ApiError):
    """The credentials do not allow it; the message names verb, resource and namespace."""


class NotFound(ApiError):
    """There is no such object.

    Attributes:
        kind_missing: the whole kind is unknown to the API server.
    """

    def __init__(self, message: str, *, kind_missing: bool = False) -> None:
        super().__init__(message, status=404, reason="NotFound")
        self.kind_missing = kind_missing


class Conflict(ApiError):
    """Another field manager owns what would be changed, or the object changed since it was read."""


class Invalid(ApiError):
    """The API server checked the object and refuses it."""
