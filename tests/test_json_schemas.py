from __future__ import annotations

import time
from typing import Any

import pytest

from serve_app import json_schemas
from serve_app.errors import BadRequest

FIELD = "response_format"


def places(schema: Any) -> list[tuple[str, Any]]:
    """A schema in each field of a request that can hold one."""
    return [
        ("response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}),
        ("text", {"format": {"type": "json_schema", "name": "n", "schema": schema}}),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": schema}}]),
        ("tools", [{"type": "function", "name": "f", "parameters": schema}]),
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}},
        {"definitions": {"a": {"$ref": "#/definitions/a"}}},
        {"type": "object", "properties": {"a": {"$defs": {"b": {"$ref": "#/$defs/b"}}}}},
        {"type": "string", "minLength": 10_001},
        {"type": "array", "items": {"maxItems": 1e9}},
        {"type": "string", "pattern": "(a{1000}{1000}b)?"},
        {"type": "object", "patternProperties": {"a{99999}": {}}},
        {"enum": ["x" * 40_000]},
    ],
)
def test_refused_in_every_place(schema: dict[str, Any]) -> None:
    for name, value in places(schema):
        with pytest.raises(BadRequest) as caught:
            json_schemas.check(name, value)
        assert caught.value.param == name


@pytest.mark.parametrize(
    "schema",
    [
        {},
        5,
        None,
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "properties": {"schema": {"$ref": "#"}, "parameters": {"$ref": "#"}, "#": {"$ref": "#"}}},
        {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"type": "string", "maxLength": 10_000},
        {"type": "string", "pattern": r"^[a-z]{1,500}@\w{2,63}\.[a-z{}]{2,}$"},
        {"properties": {"pattern": {"type": "string"}, "minLength": {"type": "integer"}}},
        {"pattern": 5, "patternProperties": ["a"], "$ref": ["#"]},
    ],
)
def test_passed_in_every_place(schema: Any) -> None:
    for name, value in places(schema):
        json_schemas.check(name, value)


def test_tools_are_bounded() -> None:
    json_schemas.check("tools", [{}] * 128)
    with pytest.raises(BadRequest, match="at most 128"):
        json_schemas.check("tools", [{}] * 129)


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("a{5}", 5),
        ("ab{5}", 6),
        ("a{2,5}", 5),
        ("a{2,}", 2),
        ("(ab){5}c", 11),
        ("(a{3}b){5}", 20),
        ("((a{9}){9}){9}", 729),
        ("a{9}{9}", 81),
        ("(?:ab){3}", 6),
        ("[abc]{5}", 5),
        ("[]a{9}]{5}", 5),
        (r"\({5}", 5),
        (r"[\]]{5}", 5),
        (r"\{5}", 3),
        ("a*b+c?|d", 4),
        ("a{0}", 0),
        ("a{x}", 4),
        (")))a{2}", 5),
        ("(((a", 1),
        ("(a{999999999}){999999999}", 999999999**2),
    ],
)
def test_written_out(pattern: str, size: int) -> None:
    assert json_schemas.written_out(pattern) == size


@pytest.mark.parametrize("text", ["(", "[", "[^", "{", "a{", "\\", "[\\", "(?:"])
def test_long_nonsense_is_read_quickly(text: str) -> None:
    begun = time.process_time()
    json_schemas.written_out(text * 16_000)
    assert time.process_time() - begun < 1
