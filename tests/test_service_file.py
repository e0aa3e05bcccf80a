from __future__ import annotations

import pytest

from service_file import ServiceFileError, load_mapping


def test_each_key_has_its_line() -> None:
    data, lines = load_mapping("# a comment\nname: x\nengine:\n  options: {a: 1,\n    b: 2}\n", "f.yaml")
    assert data == {"name": "x", "engine": {"options": {"a": 1, "b": 2}}}
    assert lines == {
        ("name",): 2,
        ("engine",): 3,
        ("engine", "options"): 4,
        ("engine", "options", "a"): 4,
        ("engine", "options", "b"): 5,
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "~\n", "null"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert load_mapping(text, "f.yaml") == ({}, {})


def test_keys_that_only_look_alike_count_as_one() -> None:
    """Paths are told as text, so ``1`` and ``"1"`` could not be told apart in a message."""
    with pytest.raises(ServiceFileError, match="given twice"):
        load_mapping("1: a\n'1': b\n", "f.yaml")


def test_an_ampersand_or_a_star_in_a_text_is_no_alias() -> None:
    data, _ = load_mapping("name: 'a & *b'\nmodel: a&b*c # &x *y\n", "f.yaml")
    assert data == {"name": "a & *b", "model": "a&b*c"}


@pytest.mark.parametrize("text", ["!!set {a, b}\n", "!!omap [a: 1]\n", "!!binary aGk=\n"])
def test_other_kinds_of_documents_are_refused(text: str) -> None:
    with pytest.raises(ServiceFileError, match="must be a mapping"):
        load_mapping(text, "f.yaml")


def test_a_long_file_takes_no_time_to_speak_of() -> None:
    data, lines = load_mapping("engine:\n  options:\n" + "".join(f"    key{n}: {n}\n" for n in range(500)), "f.yaml")
    assert len(data["engine"]["options"]) == 500
    assert lines["engine", "options", "key499"] == 502
