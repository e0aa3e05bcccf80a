"""Read a YAML mapping so that every mistake in it can be told with its line. Pure.

Duplicate keys, tabs, aliases (an anchor can blow a small file up to gigabytes) and non-mappings are refused here;
:func:`explain` turns pydantic's findings into one sentence each.
"""

from __future__ import annotations

import difflib
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from serve_app.errors import ConfigError

Lines = dict[tuple[str, ...], int]


def load_mapping(text: str, source: str) -> tuple[dict[str, Any], Lines]:
    """Parse ``text``; return the mapping and the line (from 1) of each key path.

    Raises:
        ConfigError: not YAML, not a mapping, a duplicate key, or an alias.
    """
    data, node = _parse(text, source)
    if data is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise ConfigError(f"{source}: the file must be a mapping of sections (model, engine, ...).")
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
            raise ConfigError(f"{source}: YAML anchors and aliases are not supported; write the value out.")
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error}.") from None
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: nested too deep.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}.") from None
    except (ValueError, AttributeError):  # from dates that are none
        raise ConfigError(f"{source}: not valid YAML: a value is not the date or number it looks like.") from None


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
            raise ConfigError(f"{source}:{line}: '{'.'.join(key)}' is given twice, first on line {lines[key]}.")
        lines[key] = line
        _walk(value_node, key, lines, source)


def explain(
    error: ValidationError, model: type[BaseModel], source: str, lines: Lines, overridden: dict[tuple[str, ...], str]
) -> str:
    """One line a finding: where, which key, what is wrong, what would do.

    Args:
        error: pydantic's findings.
        model: what was validated.
        source: the file's name.
        lines: the line of each key in the file.
        overridden: the environment variable that set a key, for those that were.
    """
    findings = error.errors(include_url=False)
    return "\n".join(_finding(dict(item), model, source, lines, overridden) for item in findings)


def _finding(
    item: dict[str, Any], model: type[BaseModel], source: str, lines: Lines, overridden: dict[tuple[str, ...], str]
) -> str:
    loc = tuple(str(part) for part in item["loc"])
    variable = next((overridden[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in overridden), None)
    where = variable or (f"{source}:{lines[loc]}" if loc in lines else source)
    key = ".".join(loc)
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        near = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        elsewhere = [path for path in _all_paths(model) if path.rsplit(".", 1)[-1] == loc[-1]]
        if elsewhere:
            hint = f"did you mean '{elsewhere[0]}'?"
        elif near:
            hint = f"did you mean '{'.'.join((*loc[:-1], near[0]))}'?"
        else:
            hint = f"known here: {', '.join(known)}."
        return f"{where}: unknown key '{key}'; {hint}"
    message = str(item["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(item.get("input"), dict | BaseModel) else f" (given: {item.get('input')!r})"
    return f"{where}: {f'{key}: ' if key else ''}{message}{given}."


def _fields_at(model: type[BaseModel], loc: tuple[str, ...]) -> list[str]:
    for part in loc:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _all_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    paths: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            paths += _all_paths(annotation, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
