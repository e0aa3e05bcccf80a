"""Differences between two objects, field by field, with list items known by their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

NAMES = ("name", "groupName", "key", "containerPort", "port", "mountPath")
"""What tells items of a list apart, the first that all of them have."""

SERVER_MANAGED = {"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"}

_SUFFIXES = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SUFFIXES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


@dataclass(frozen=True)
class Difference:
    """One field that differs; ``before`` or ``after`` is None where it is not there."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def dotted(self) -> str:
        """The path as people write it: ``spec.workerGroupSpecs[l4].maxReplicas``."""
        return "".join(part if part.startswith("[") else f".{part}" for part in self.path).removeprefix(".")


def differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Every field that differs, in the order of ``after``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*after, *(key for key in before if key not in after)]:
            if not (path[-1:] == ("metadata",) and key in SERVER_MANAGED):
                yield from differences(before.get(key), after.get(key), (*path, str(key)))
        return
    if isinstance(before, list) and isinstance(after, list) and (name := _name_of_items([*before, *after])):
        old, new = ({f"[{item[name]}]": item for item in side} for side in (before, after))
        if len(old) == len(before) and len(new) == len(after):
            for key in [*new, *(key for key in old if key not in new)]:
                yield from differences(old.get(key), new.get(key), (*path, key))
            if [key for key in old if key in new] != [key for key in new if key in old]:
                yield Difference((*path, "[order]"), list(old), list(new))
            return
    if not same(before, after):
        yield Difference(path, before, after)


def same(before: Any, after: Any) -> bool:
    """Whether Kubernetes takes them for the same; nothing, an empty list and an empty mapping are."""
    before, after = (None if value in ([], {}) else value for value in (before, after))
    return before == after


def quantity(value: Any) -> Decimal | Any:
    """A quantity as a number (``500m`` is 0.5), or the value itself where it is none."""
    match = re.fullmatch(r"([0-9.]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?", str(value))
    return Decimal(match[1]) * _SUFFIXES.get(match[2], 1) if match else value


def _name_of_items(items: list[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return next((name for name in NAMES if all(name in item for item in items)), None)
