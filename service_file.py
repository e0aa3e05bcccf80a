"""One YAML file a service, read so that every mistake in it can be told with its line.

``serve_app``, ``kuberay`` and ``cluster`` each own some of its sections and validate those with a pydantic model; what
they share is here: YAML without traps (duplicate keys, anchors that blow a small file up to gigabytes), overrides by
environment variables (``SWITCHYARD__ENGINE__MAX_NUM_SEQS=8``), and one sentence for each finding. Imports none of them.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import models_json_schema

OVERRIDE_PREFIX = "SWITCHYARD__"

Lines = dict[tuple[str, ...], int]
Model = TypeVar("Model", bound=BaseModel)


class ServiceFileError(Exception):
    """The file, or an override, is wrong; the message says where, what, and what would do."""


class Section(BaseModel):
    """A part of the file: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Override(NamedTuple):
    """A value from the environment instead of the file's."""

    path: tuple[str, ...]
    value: Any
    variable: str


@dataclass(frozen=True)
class ServiceFile:
    """A file that was read, overrides applied, not validated yet.

    Attributes:
        source: its name, for messages.
        data: the mapping.
        lines: the line (from 1) of each key path.
        overrides: what came from the environment.
    """

    source: str
    data: dict[str, Any]
    lines: Lines
    overrides: tuple[Override, ...] = ()

    def validate(self, model: type[Model], *, except_for: Collection[str] = ()) -> Model:
        """The whole file as a ``model``, without the sections that belong to other packages.

        Raises:
            ServiceFileError: one line a finding.
        """
        # A section with nothing under it is a section left out.
        data = {key: value for key, value in self.data.items() if value is not None and key not in except_for}
        return self._validated(model, data, ())

    def section(self, name: str, model: type[Model]) -> Model:
        """One section as a ``model``; all defaults where the file has none.

        Raises:
            ServiceFileError: one line a finding.
        """
        data = self.data.get(name)
        return self._validated(model, {} if data is None else data, (name,))

    def _validated(self, model: type[Model], data: Any, at: tuple[str, ...]) -> Model:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise ServiceFileError(_explain(error, model, self, at)) from None


def read(path: Path) -> str:
    """The text of a service file.

    Raises:
        ServiceFileError: there is none, or it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ServiceFileError(
            f"There is no service file {path}. Files that come with the project: deploy/*.yaml."
        ) from None
    except (OSError, ValueError) as error:
        raise ServiceFileError(f"The service file {path} cannot be read: {error}.") from None


def parse(text: str, source: str) -> ServiceFile:
    """Parse a service file's text.

    Raises:
        ServiceFileError: not YAML, not a mapping, a duplicate key, or an alias.
    """
    return ServiceFile(source, *load_mapping(text, source))


def override(file: ServiceFile, overrides: Collection[Override]) -> ServiceFile:
    """The file with ``overrides`` applied, the last one winning.

    Raises:
        ServiceFileError: one that sets a part of a single value.
    """
    data = copy.deepcopy(file.data)
    for item in overrides:
        _set(data, item)
    return replace(file, data=data, overrides=(*file.overrides, *overrides))


def overrides_in(environ: Mapping[str, str]) -> list[Override]:
    """The overrides among the environment's variables, in alphabetic order.

    Raises:
        ServiceFileError: a variable that is empty, or not YAML.
    """
    found: list[Override] = []
    for variable in sorted(environ):
        if variable.startswith(OVERRIDE_PREFIX):
            if not environ[variable].strip():
                raise ServiceFileError(f"{variable} is set but empty; unset it, or give null for no value.")
            path = tuple(variable.removeprefix(OVERRIDE_PREFIX).lower().split("__"))
            found.append(Override(path, load_value(environ[variable], variable), variable))
    return found


def json_schema(whole: type[BaseModel], sections: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON schema of a service file, for editors: ``whole``, and what other packages put in ``sections`` of it."""
    models = [(model, "validation") for model in (whole, *sections.values())]
    references, schema = models_json_schema(cast("Any", models))
    top: dict[str, Any] = schema["$defs"].pop(whole.__name__)
    top["properties"] |= {name: references[(model, "validation")] for name, model in sections.items()}
    return top | {"$defs": schema["$defs"]}


def _set(data: dict[str, Any], override: Override) -> None:
    node = data
    *above, last = override.path
    for key in above:
        below = node.get(key)
        if below is None:
            below = node[key] = {}
        if not isinstance(below, dict):
            raise ServiceFileError(f"{override.variable}: '{key}' is a single value and has no part '{last}'.")
        node = cast("dict[str, Any]", below)
    node[last] = override.value


def load_mapping(text: str, source: str) -> tuple[dict[str, Any], Lines]:
    """Parse ``text``; return the mapping and the line (from 1) of each key path.

    Raises:
        ServiceFileError: not YAML, not a mapping, a duplicate key, or an alias.
    """
    data, node = _parse(text, source)
    if data is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise ServiceFileError(f"{source}: the file must be a mapping of sections (model, engine, ...).")
    lines: Lines = {}
    _walk(node, (), lines, source)
    return data, lines


def load_value(text: str, source: str) -> Any:
    """Parse the YAML of a single value, with the same refusals."""
    data, node = _parse(text, source)
    if node is not None:
        _walk(node, (), {}, source)
    return data


def _parse(text: str, source: str) -> tuple[Any, yaml.Node | None]:
    try:
        if any(isinstance(token, yaml.AliasToken | yaml.AnchorToken) for token in yaml.scan(text)):
            raise ServiceFileError(f"{source}: YAML anchors and aliases are not supported; write the value out.")
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ServiceFileError(f"{where}: not valid YAML: {error.problem or error}.") from None
    except RecursionError:
        raise ServiceFileError(f"{source}: not valid YAML: nested too deep.") from None
    except yaml.YAMLError as error:
        raise ServiceFileError(f"{source}: not valid YAML: {error}.") from None
    except (ValueError, AttributeError):  # from dates that are none
        raise ServiceFileError(f"{source}: not valid YAML: a value is not the date or number it looks like.") from None


def _walk(node: yaml.Node, path: tuple[str, ...], lines: Lines, source: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*path, str(number)), lines, source)
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = (*path, str(key_node.value))
        line = key_node.start_mark.line + 1
        if key in lines:
            raise ServiceFileError(f"{source}:{line}: '{'.'.join(key)}' is given twice, first on line {lines[key]}.")
        lines[key] = line
        _walk(value_node, key, lines, source)


def _explain(error: ValidationError, model: type[BaseModel], file: ServiceFile, at: tuple[str, ...]) -> str:
    """One line a finding: where, which key, what is wrong, what would do. ``at`` is where in the file ``model`` is."""
    return "\n".join(_finding(dict(item), model, file, at) for item in error.errors(include_url=False))


def _finding(item: dict[str, Any], model: type[BaseModel], file: ServiceFile, at: tuple[str, ...]) -> str:
    below = tuple(str(part) for part in item["loc"])
    loc = at + below
    overridden = {override.path: override.variable for override in file.overrides}
    variable = next((overridden[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in overridden), None)
    where = variable or (f"{file.source}:{file.lines[loc]}" if loc in file.lines else file.source)
    key = ".".join(loc)
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, below[:-1])
        near = difflib.get_close_matches(below[-1], known, n=1, cutoff=0.5)
        elsewhere = [path for path in _all_paths(model) if path.rsplit(".", 1)[-1] == below[-1]]
        if elsewhere:
            hint = f"did you mean '{'.'.join((*at, elsewhere[0]))}'?"
        elif near:
            hint = f"did you mean '{'.'.join((*loc[:-1], near[0]))}'?"
        else:
            hint = f"known here: {', '.join(known)}."
        return f"{where}: unknown key '{key}'; {hint}"
    message = str(item["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(item.get("input"), dict | BaseModel) else f" (given: {item.get('input')!r})"
    return f"{where}: {f'{key}: ' if key else ''}{message}{given}."


def _fields_at(model: type[BaseModel], loc: tuple[str, ...]) -> list[str]:
    annotation: Any = model
    for part in loc:
        if get_origin(annotation) is dict:  # a mapping from names to models: any name goes
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is list or part.isdigit():
            annotation = get_args(annotation)[0] if get_args(annotation) else None
        else:
            found = _model_in(annotation)
            annotation = found.model_fields[part].annotation if found and part in found.model_fields else None
    found = _model_in(annotation)
    return list(found.model_fields) if found else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, list):
        return None
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _all_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    paths: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            paths += _all_paths(annotation, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
