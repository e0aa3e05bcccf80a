"""A snapshot as one file, so that somebody else can look at it: ``doctor --bundle`` writes it, and reads it anywhere.

    meta.json                       version, when, where, what could not be read
    objects/<kind>.json             the objects of a kind
    serve/<cluster>.json            Serve's report
    logs/<pod>/<container>.log      the end of a log

The same snapshot gives the same bytes. Secrets are taken out on the way in (``redact``). A file that is read may come
from anybody: nothing is unpacked onto a disk, and everything is bounded.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, unquote

from kuberay.errors import ConfigError
from kuberay.look.objects import name_of, text
from kuberay.look.redact import LOG_LIMIT, redact, redact_object, tail
from kuberay.snapshot import Object, Snapshot

VERSION = 1
FILE_LIMIT = 64 * 2**20
"""Bytes a bundle may have, packed."""

CONTENT_LIMIT = 256 * 2**20
"""Bytes it may have, unpacked."""

MEMBER_LIMIT = 20_000
_MEMBER = re.compile(r"meta\.json|objects/[^/]+\.json|serve/[^/]+\.json|logs/(?:[^/]+/)*[^/]+\.log")


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a bundle, whole or not at all. Only the owner may read it: logs may hold what users asked.

    Raises:
        ConfigError: it cannot be written there.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(pack(snapshot))
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        raise ConfigError(f"Cannot write the bundle {path}: {error.strerror or error}.") from error


def read(path: Path) -> Snapshot:
    """Read a bundle.

    Raises:
        ConfigError: it cannot be read, or is no bundle of this version; one sentence says why.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"Cannot read the bundle {path}: {error.strerror or error}.") from error
    try:
        return unpack(data)
    except ConfigError as error:
        raise ConfigError(f"{path} is no bundle that can be used: {error}") from None


def pack(snapshot: Snapshot) -> bytes:
    """The bytes of a bundle."""
    buffer = io.BytesIO()
    # Without a name and a time in it, the same content is the same bytes.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(_members(snapshot)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _members(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    kinds: dict[str, list[Any]] = defaultdict(list)
    for item in snapshot.objects:
        kinds[text(item, "kind") or "Unknown"].append(redact_object(item))
    meta = {
        "version": VERSION,
        "taken": snapshot.taken,
        "context": snapshot.context,
        "namespace": snapshot.namespace,
        "name": snapshot.name,
        "unreadable": [redact(one) for one in snapshot.unreadable],
    }
    yield "meta.json", _json(meta)
    for kind, found in kinds.items():
        found.sort(
            key=lambda item: (text(item, "metadata", "namespace"), name_of(item), json.dumps(item, sort_keys=True))
        )
        yield f"objects/{_part(kind)}.json", _json(found)
    for cluster, report in snapshot.serve.items():
        yield f"serve/{_part(cluster)}.json", _json(redact_object(report))
    for key, log in snapshot.logs.items():
        name = "/".join(_part(part) for part in key.split("/"))
        yield f"logs/{name}.log", redact(tail(log)).encode("utf-8", "replace")


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def _part(name: str) -> str:
    """A name as one step of a path, whatever is in it."""
    return quote(name, safe="").replace(".", "%2E", 1) if name.startswith(".") else quote(name, safe="")


class _Bounded(io.RawIOBase):
    """What unpacks to more than it may is a bomb; no reader sees more than the limit."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = CONTENT_LIMIT

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ConfigError(f"it unpacks to more than {CONTENT_LIMIT >> 20} MiB.")
        return data


def unpack(data: bytes) -> Snapshot:
    """The snapshot in a bundle's bytes.

    Raises:
        ConfigError: they are no bundle of this version.
    """
    if len(data) > FILE_LIMIT:
        raise ConfigError(f"it is larger than {FILE_LIMIT >> 20} MiB.")
    try:
        files = dict(_contents(data))
        return _snapshot(files)
    except ConfigError:
        raise
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise ConfigError("it is not a whole .tgz file.") from error
    except RecursionError as error:
        raise ConfigError("its JSON is nested too deeply.") from error
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ConfigError("its content is not what a bundle has.") from error


def _contents(data: bytes) -> Iterator[tuple[str, bytes]]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        stream: Any = _Bounded(packed)  # pyright: ignore[reportArgumentType]
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, entry in enumerate(archive):
                if count >= MEMBER_LIMIT:
                    raise ConfigError(f"it has more than {MEMBER_LIMIT} files.")
                if not entry.isreg() or not _MEMBER.fullmatch(entry.name) or ".." in entry.name.split("/"):
                    raise ConfigError(f"it holds {entry.name[:80]!r}, which no bundle has.")
                file = archive.extractfile(entry)
                yield entry.name, file.read() if file else b""


def _snapshot(files: Mapping[str, bytes]) -> Snapshot:
    if "meta.json" not in files:
        raise ConfigError("it has no meta.json.")
    read: Any = json.loads(files["meta.json"])
    meta = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    if meta.get("version") != VERSION:
        found = meta.get("version")
        raise ConfigError(f"it is of version {str(found)[:20]}, and this program reads version {VERSION}.")
    objects: list[Object] = []
    serve: dict[str, Any] = {}
    logs: dict[str, str] = {}
    for name in sorted(files):
        folder, _, rest = name.partition("/")
        key = "/".join(unquote(part) for part in rest.rsplit(".", 1)[0].split("/"))
        if folder == "objects":
            objects += [_object(item) for item in json.loads(files[name])]
        elif folder == "serve":
            serve[key] = json.loads(files[name])
        elif folder == "logs":
            logs[key] = tail(files[name].decode("utf-8", "replace"), LOG_LIMIT)
    unreadable: Any = meta.get("unreadable")
    return Snapshot(
        taken=_string(meta, "taken"),
        context=_string(meta, "context"),
        namespace=_string(meta, "namespace"),
        name=_string(meta, "name"),
        objects=tuple(objects),
        serve=serve,
        logs=logs,
        unreadable=tuple(map(str, cast("list[Any]", unreadable))) if isinstance(unreadable, list) else (),
    )


def _object(item: Any) -> Object:
    if not isinstance(item, dict) or not name_of(item):
        raise ConfigError("an object in it has no name.")
    return cast("Object", item)


def _string(meta: Mapping[str, Any], key: str) -> str:
    value = meta.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"its meta.json has no {key}.")
    return value
