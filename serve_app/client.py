"""Calls ``POST /generate`` of a running service, as `switchyard chat` and `switchyard generate` do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from serve_app.errors import SwitchyardError

TIMEOUT = httpx2.Timeout(10, read=300)


class ClientError(SwitchyardError):
    """The service cannot be reached or refused; the message says which."""


def stream(url: str, body: Mapping[str, Any], api_key: str | None = None) -> Iterator[str]:
    """Yield the answer's text piece by piece.

    Raises:
        ClientError: no service there, a refusal, or a stream that broke off.
    """
    with (
        _told(url),
        httpx2.stream(
            "POST", _address(url), json={**body, "stream": True}, headers=_headers(api_key), timeout=TIMEOUT
        ) as response,
    ):
        if response.status_code != httpx2.codes.OK:
            raise ClientError(_reason(response))
        yield from _events(_lines(response.iter_text()))


def whole(url: str, body: Mapping[str, Any], api_key: str | None = None) -> dict[str, Any]:
    """The answer in one piece, as the service's JSON.

    Raises:
        ClientError: no service there, a refusal, or something else that answers.
    """
    with _told(url):
        response = httpx2.post(
            _address(url), json={**body, "stream": False}, headers=_headers(api_key), timeout=TIMEOUT
        )
        if response.status_code != httpx2.codes.OK:
            raise ClientError(_reason(response))
        try:
            return response.json()
        except ValueError:
            raise ClientError("What answers there does not speak this service's protocol. Check --url.") from None


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """Connection failures as ours."""
    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise ClientError(f"{url!r} is no address of a service. It looks like http://localhost:8000.") from error
    except httpx2.ConnectError as error:
        raise ClientError(f"Nothing answers at {url}. Start a service with 'make serve', or give --url.") from error
    except httpx2.HTTPError as error:
        raise ClientError(f"The connection to {url} broke: {type(error).__name__}. Ask again.") from error


def _address(url: str) -> str:
    return f"{url.rstrip('/')}/generate"


def _headers(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key else {}


def _lines(chunks: Iterator[str]) -> Iterator[str]:
    """Lines as server-sent events have them: ended by a newline, and not by the other separators Unicode knows."""
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    yield rest


def _events(lines: Iterator[str]) -> Iterator[str]:
    """The pieces of text of a stream, up to and without ``[DONE]``."""
    for line in lines:
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
            if "error" in event:
                raise ClientError(f"The answer broke off: {event['error']['message']}")
            text: str = event["text"]
        except (ValueError, KeyError, TypeError):
            raise ClientError("What answers there does not speak this service's protocol. Check --url.") from None
        yield text
    raise ClientError("The answer broke off before its end. Ask again.")


def _reason(response: httpx2.Response) -> str:
    text = response.read().decode(errors="replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:200] or "no text"
    hint = " Set SWITCHYARD_API_KEY." if response.status_code == httpx2.codes.UNAUTHORIZED else ""
    return f"The service refused ({response.status_code}): {message}{hint}"
