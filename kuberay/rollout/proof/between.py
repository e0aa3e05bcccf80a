"""What differs between two revisions of a service, field by field, without what the release's name changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kuberay.fields import Difference, differences
from kuberay.look.redact import redact_object
from kuberay.manifests.rayservice import Json
from kuberay.plan.screen import field
from kuberay.release import CONFIG_KEY, parse
from kuberay.snapshot import dig


@dataclass(frozen=True)
class Side:
    """A revision.

    Attributes:
        objects: that were applied; those that are not kept any more are missing.
        whole: none is missing. A revision that was found, not made, has its RayService only.
    """

    number: int
    release: str
    objects: tuple[Json, ...] = ()
    whole: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """What its pods read; empty where it is not kept."""
        return parse(next((text for one in self.objects if (text := dig(one, "data", CONFIG_KEY, default=""))), ""))


@dataclass(frozen=True)
class Changed:
    """One difference.

    Attributes:
        thing: the object, such as ``RayService/llm``; ``release`` for what the pods read.
    """

    thing: str
    difference: Difference

    @property
    def mark(self) -> str:
        """``+`` for what is new, ``-`` for what is gone, ``~`` for what changed."""
        return "+" if self.difference.before is None else "-" if self.difference.after is None else "~"

    def to_json(self) -> Json:
        """As data."""
        one = self.difference
        return {"object": self.thing, "path": one.dotted, "before": one.before, "after": one.after}


def between(old: Side, new: Side) -> list[Changed]:
    """Every field that differs, what the pods read first. Secrets are never shown, and count as equal."""
    found = [Changed("release", one) for one in differences(redact_object(old.config), redact_object(new.config))]
    before, after = _by_name(old), _by_name(new)
    for name in [*after, *(name for name in before if name not in after)]:
        sides = before.get(name), after.get(name)
        if None in sides:
            if old.whole and new.whole:
                found.append(Changed(name, Difference((), *(one and "there" for one in sides))))
            continue
        found += [
            Changed(name, one)
            for one in differences(*(redact_object(one) for one in sides))
            if not _only_a_name(one, old.release, new.release)
        ]
    return found


def lines(old: Side, new: Side, changed: Sequence[Changed]) -> list[str]:
    """For people, as `switchyard diff` shows a plan."""
    head = f"revision {old.number} (release {old.release}) -> revision {new.number} (release {new.release})"
    if not changed:
        return [f"{head}: no difference"]
    return [f"{head}:", "", *(text for one in changed for text in field(one.mark, one.thing, one.difference))]


def _by_name(side: Side) -> Mapping[str, Json]:
    """Objects by kind and name, with the release's own name taken out; the release's ConfigMap is told apart."""
    found: dict[str, Json] = {}
    for one in side.objects:
        own: str = dig(one, "metadata", "name", default="")
        name = f"{one.get('kind')}/{own.replace(side.release, 'RELEASE') if side.release else own}"
        if dig(one, "data", CONFIG_KEY, default=""):
            found[name] = {**one, "data": {key: text for key, text in one["data"].items() if key != CONFIG_KEY}}
        else:
            found[name] = one
    return found


def _only_a_name(one: Difference, old: str, new: str) -> bool:
    return bool(old) and old != new and str(one.before).replace(old, new) == str(one.after)


def as_json(old: Side, new: Side, changed: Sequence[Changed]) -> Json:
    """As data."""
    sides = {name: {"revision": one.number, "release": one.release} for name, one in (("before", old), ("after", new))}
    return {**sides, "changes": [one.to_json() for one in changed]}
