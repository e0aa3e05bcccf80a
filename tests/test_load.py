from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.errors import ConfigError
from serve_app.load import CONFIG_VARIABLE, DEFAULT_FILE, load


def test_which_file(tmp_path: Path) -> None:
    for name in ("given", "variable"):
        (tmp_path / name).write_text(f"name: {name}\n")
    environ = {CONFIG_VARIABLE: str(tmp_path / "variable")}
    assert load(str(tmp_path / "given"), environ).name == "given"
    assert load(None, environ).name == "variable"
    assert load(None, {}).engine.max_num_seqs == 16
    assert load("", {CONFIG_VARIABLE: ""}) == load(str(DEFAULT_FILE), {})


def test_overrides_come_from_the_environment_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.yaml").write_text("name: file\n")
    monkeypatch.setenv("SWITCHYARD__NAME", "process")
    assert load(str(tmp_path / "f.yaml"), {}).name == "file"
    assert load(str(tmp_path / "f.yaml")).name == "process"


@pytest.mark.parametrize(
    ("name", "part"),
    [("missing.yaml", "There is no service file"), ("folder", "Is a directory"), ("latin.yaml", "utf-8")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, part: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ConfigError, match=part) as caught:
        load(str(tmp_path / name), {})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_file_name() -> None:
    with pytest.raises(ConfigError):
        load("a\0b", {})


def test_a_wrong_file_is_named_in_the_message(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("modl: {}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert str(caught.value).startswith(f"{file}:1: ")


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes("name: bom\n".encode("utf-8-sig"))
    assert load(str(file), {}).name == "bom"
