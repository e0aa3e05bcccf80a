"""What a config says of itself: the name it serves, and the hash that stands for what decides the answers."""

from __future__ import annotations

import pytest

from serve_app.config import ServiceConfig, parse_config


def parse(text: str) -> ServiceConfig:
    return parse_config(text, source="f.yaml", environ={})


@pytest.mark.parametrize(
    ("model", "name"),
    [("embedded", "smollm2-135m-instruct"), ("tiny", "tiny"), ("a/b", "b"), ("/m/x/", "x"), ("gs://bucket/p/q", "q")],
)
def test_served_name(model: str, name: str) -> None:
    assert parse(f"model: {{id: {model}}}\n").model.served_name == name


def test_a_folder_of_this_machine_is_not_told() -> None:
    assert parse("model: {id: /home/me/secret/x}\n").model.public_id == "x"
    assert parse("model: {id: a/b}\n").model.public_id == "a/b"


def test_release_does_not_depend_on_the_order_of_keys() -> None:
    one = parse("model: {id: a/b, dtype: float16}\nengine: {options: {a: 1, b: {c: 1, d: 2}}, max_num_seqs: 4}\n")
    two = parse("engine: {max_num_seqs: 4, options: {b: {d: 2, c: 1}, a: 1}}\nmodel: {dtype: float16, id: a/b}\n")
    assert one.release == two.release


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("name: other\n", True),
        ("scaling: {max_replicas: 9}\n", True),
        ("model: {id: embedded}\n", True),
        ("serving: {defaults: {temperature: 0.70}}\n", True),
        ("model: {id: tiny}\n", False),
        ("engine: {max_num_seqs: 5}\n", False),
        ("engine: {options: {enforce_eager: true}}\n", False),
        ("serving: {defaults: {temperature: 0.1}}\n", False),
    ],
)
def test_release_changes_with_what_decides_the_answers_only(text: str, same: bool) -> None:
    assert (parse(text).release == ServiceConfig().release) is same
