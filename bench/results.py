"""A run's folder: what it was, each request as it ended, the summary. Edge: files.

run.json         written first: what was measured, when, on what machine
requests.jsonl   a line a request, written while it runs: a run that is killed leaves all that had ended
summary.json     written last, also after Ctrl-C
report.html, *.png
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from bench.errors import ResultError
from bench.records import Record, read, to_line

RUN, REQUESTS, SUMMARY, REPORT = "run.json", "requests.jsonl", "summary.json", "report.html"


@dataclass(frozen=True)
class Run:
    """A run that was read back.

    Attributes:
        name: the folder's, or the file's.
        about: ``run.json``; empty where only records are left.
        records: what ended.
        folder: where it is kept.
    """

    name: str
    about: Mapping[str, Any]
    records: list[Record]
    folder: Path

    @property
    def labels(self) -> list[str]:
        """The targets, in the order of their first record."""
        return list(dict.fromkeys(record.target for record in self.records))


@dataclass
class Writer:
    """Writes a run's folder; used as a context manager.

    Raises:
        ResultError: the folder cannot be written, or has a run in it already.
    """

    folder: Path
    about: Mapping[str, Any]
    records: list[Record] = field(default_factory=list[Record])
    _file: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Line buffered: each record is with the system as soon as it is there, whatever becomes of this process.
            self._file = (self.folder / REQUESTS).open("x", buffering=1, encoding="utf-8")
            write_json(self.folder / RUN, self.about)
        except FileExistsError:
            raise ResultError(f"{self.folder} has a run in it already: name another folder with --out.") from None
        except OSError as error:
            raise ResultError(f"{self.folder} cannot be written: {error}. Name another folder with --out.") from None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def keep(self, record: Record) -> None:
        """Write a record down."""
        self.records.append(record)
        if self._file:
            self._file.write(to_line(record) + "\n")


def machine() -> dict[str, Any]:
    """What this was measured on. No host name: results are shown to others."""
    model = platform.processor()
    try:
        with Path("/proc/cpuinfo").open() as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def write_json(path: Path, data: object) -> None:
    """Write a file as a whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def load(path: Path) -> Run:
    """Read a run's folder, or a file of records.

    Raises:
        ResultError: it is neither.
    """
    folder, file = (path, path / REQUESTS) if path.is_dir() else (path.parent, path)
    try:
        with file.open(encoding="utf-8") as lines:
            records = read(lines, str(file))
    except FileNotFoundError:
        raise ResultError(f"There is no run in {path}: give a folder that 'switchyard bench run' wrote.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{file} cannot be read: {error}.") from None
    if not records:
        raise ResultError(f"{file}: no request has ended in this run.")
    return Run(path.stem if path.is_file() else path.name, _about(folder / RUN), records, folder)


def _about(path: Path) -> dict[str, Any]:
    try:
        parsed: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}. Delete it to do without.") from None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}


def default_folder(now: datetime) -> Path:
    """Where a run goes that was given no ``--out``."""
    return Path("build/bench") / now.strftime("%Y%m%d-%H%M%S")
