"""What can go wrong, in one tree. Pure: knows no HTTP server, no Ray, no vLLM.

SwitchyardError
├── ConfigError                 the service YAML or an override is wrong        exit 1
├── StartError                  the service cannot start here                   exit 1
└── RequestError                one request cannot be served; has an HTTP status
    ├── BadRequest              400   the client must change the request
    ├── Unauthorized            401
    ├── NotFound                404   no such route or model
    ├── MethodNotAllowed        405
    ├── BodyTimeout             408   the body came too slowly
    ├── BodyTooLarge            413
    ├── UnsupportedMediaType    415
    ├── HeadersTooLarge         431
    ├── GenerationFailed        500   the engine gave up on this request
    ├── EngineUnavailable       503   dead, starting, or full; worth a retry
    └── DeadlineExceeded        504   the longest allowed request time is over

The envelope is OpenAI's; the words in ``type`` are those vLLM's own routes use, so that a client of one server meets
one dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class SwitchyardError(Exception):
    """Base of everything this package raises on purpose. ``str(error)`` is fit to be shown to a user."""


class ConfigError(SwitchyardError):
    """The service YAML, an override or an environment variable is wrong; the message says which and what would do."""


class StartError(SwitchyardError):
    """The service cannot start on this machine; the message says why and what to do next."""


class RequestError(SwitchyardError):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status code.
        type: the error's name in the envelope.
        param: the request field at fault, if one is.
        headers: extra response headers, e.g. ``Retry-After``.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "InternalServerError"

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error body: ``{"error": {"message", "type", "param", "code"}}``."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.status}}


class BadRequest(RequestError):
    status, type = 400, "BadRequestError"


class Unauthorized(RequestError):
    status, type = 401, "AuthenticationError"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class NotFound(RequestError):
    status, type = 404, "NotFoundError"


class MethodNotAllowed(RequestError):
    status, type = 405, "MethodNotAllowedError"


class BodyTimeout(RequestError):
    status, type = 408, "TimeoutError"


class BodyTooLarge(RequestError):
    status, type = 413, "RequestTooLargeError"


class UnsupportedMediaType(RequestError):
    status, type = 415, "UnsupportedMediaTypeError"


class HeadersTooLarge(RequestError):
    status, type = 431, "HeadersTooLargeError"


class GenerationFailed(RequestError):
    status, type = 500, "InternalServerError"


class EngineUnavailable(RequestError):
    status, type = 503, "ServiceUnavailableError"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after_s)})


class DeadlineExceeded(RequestError):
    status, type = 504, "TimeoutError"
