"""Prices: of machines by the hour, and of other people's APIs by the token. Pure; dated, and none of them measured.

A price file, JSON or YAML:

    date: 2026-11-22
    source: where they are from
    machines:                                   # USD an hour
      g2-standard-4: {on_demand: 0.71, spot: 0.40, gpus: 1}
    fixed_per_month: 77.7                       # USD a month whatever runs: control plane, gateways
    apis:                                       # USD a million tokens
      - {name: some API, input: 0.20, output: 0.20}

Each part may be left out; what is then missing is taken from elsewhere. ``api_prices.json`` beside this file has the
``apis`` that are compared with by default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench.errors import PriceError

SHIPPED_APIS = Path(__file__).with_name("api_prices.json")
_KNOWN = {"date", "source", "currency", "note", "machines", "fixed_per_month", "apis"}


@dataclass(frozen=True)
class Machine:
    """What a machine costs.

    Attributes:
        name: its type.
        on_demand, spot: USD an hour; None: not known, or there is none.
        gpus: how many it has.
    """

    name: str
    on_demand: float | None
    spot: float | None
    gpus: int = 1


@dataclass(frozen=True)
class Api:
    """What an API takes, USD a million tokens."""

    name: str
    input: float
    output: float

    def per_million_output(self, prompt_ratio: float) -> float:
        """USD for a million output tokens and the ``prompt_ratio`` million prompt tokens that come with them."""
        return self.output + prompt_ratio * self.input


@dataclass(frozen=True)
class Prices:
    """A dated list.

    Attributes:
        label: what these machine prices are, and of when: for under a table.
        machines: by name.
        fixed_per_month: USD a month, whatever runs.
        apis: to compare with.
        apis_label: what these are, and of when.
    """

    label: str
    machines: Mapping[str, Machine] = field(default_factory=dict[str, Machine])
    fixed_per_month: float = 0.0
    apis: tuple[Api, ...] = ()
    apis_label: str = ""

    def machine(self, name: str) -> Machine:
        """The machine called ``name``.

        Raises:
            PriceError: it is not in the list.
        """
        if name not in self.machines:
            known = ", ".join(sorted(self.machines)) or "none"
            raise PriceError(
                f"There is no price for the machine {name} in {self.label}. Known: {known}. Name one of these, put it "
                "into a file for --prices, or say what it costs with --hourly."
            )
        return self.machines[name]

    def over(self, other: Prices) -> Prices:
        """These where they say something, the other ones where they do not."""
        return replace(
            self,
            label=self.label if self.machines else other.label,
            machines=self.machines or other.machines,
            fixed_per_month=self.fixed_per_month if self.machines else other.fixed_per_month,
            apis=self.apis or other.apis,
            apis_label=self.apis_label if self.apis else other.apis_label,
        )


def parse(text: str, source: str) -> Prices:
    """A price file's content.

    Args:
        text: JSON or YAML.
        source: its name, for messages.

    Raises:
        PriceError: it is broken; names the place.
    """
    data = _mapping(_read(text, source), source, "the file")
    if unknown := sorted(data.keys() - _KNOWN):
        raise PriceError(f"{source}: unknown key {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}.")
    date = data.get("date")
    if not date:
        raise PriceError(f"{source}: no 'date'. Say of when these prices are: prices without a date mislead.")
    label = f"{Path(source).name}, {date}" + (f" ({data['source']})" if data.get("source") else "")
    machines = {
        str(name): _machine(str(name), value, source)
        for name, value in _mapping(data.get("machines") or {}, source, "'machines'").items()
    }
    listed: object = data.get("apis") or []
    if not isinstance(listed, list):
        raise PriceError(f"{source}: 'apis' is a list of name, input, output.")
    apis = tuple(_api(item, number, source) for number, item in enumerate(cast("list[object]", listed), 1))
    if not machines and not apis:
        raise PriceError(f"{source}: neither 'machines' nor 'apis' in it, so there is no price.")
    fixed = _price(data.get("fixed_per_month", 0), source, "fixed_per_month")
    return Prices(label, machines, fixed, apis, label)


def _read(text: str, source: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        pass
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PriceError(f"{source}: neither JSON nor YAML: {' '.join(str(error).split())}.") from None


def _mapping(value: object, source: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PriceError(f"{source}: {what} is a mapping of names to values, not {type(value).__name__}.")
    return cast("dict[str, Any]", value)


def _machine(name: str, value: object, source: str) -> Machine:
    given = _mapping(value, source, f"machines.{name}")
    if unknown := sorted(given.keys() - {"on_demand", "spot", "gpus"}):
        raise PriceError(f"{source}: machines.{name}: unknown key {unknown[0]!r}; known: on_demand, spot, gpus.")
    on_demand, spot = (
        None if given.get(key) is None else _price(given[key], source, f"machines.{name}.{key}")
        for key in ("on_demand", "spot")
    )
    if on_demand is None and spot is None:
        raise PriceError(f"{source}: machines.{name} has neither on_demand nor spot.")
    return Machine(name, on_demand, spot, int(_price(given.get("gpus", 1), source, f"machines.{name}.gpus")))


def _api(value: object, number: int, source: str) -> Api:
    given = _mapping(value, source, f"apis[{number}]")
    if missing := [key for key in ("name", "input", "output") if key not in given]:
        raise PriceError(f"{source}: apis[{number}] has no {missing[0]!r}.")
    name = str(given["name"])
    return Api(name, *(_price(given[key], source, f"apis[{number}].{key}") for key in ("input", "output")))


def _price(value: object, source: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise PriceError(f"{source}: {what} is {value!r}; a price is a number that is not negative.")
    return float(value)
