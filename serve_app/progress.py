"""How a replica that is starting tells ``switchyard serve`` what it is doing: lines of JSON in a file both know.

Only on a laptop, where both are on one machine: ``SWITCHYARD_PROGRESS`` names the file. Without it nothing is written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

PROGRESS_VARIABLE = "SWITCHYARD_PROGRESS"


@dataclass(frozen=True)
class Step:
    """What was begun, or went wrong, when ``failed``."""

    text: str
    failed: bool


def tell(text: str, *, failed: bool = False) -> None:
    """Add a step to the file, if there is one."""
    if path := os.environ.get(PROGRESS_VARIABLE):
        line = json.dumps({"text": text, "failed": failed})
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def steps(path: Path) -> list[Step]:
    """All steps told so far."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]  # the last line may be half written
    return [Step(**json.loads(line)) for line in whole.splitlines()]
