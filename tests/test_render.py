"""What `switchyard render` prints for the files in deploy/, word for word, and that it is the same every time.

After a change that is meant, write the golden files anew and read their diff:
``SWITCHYARD_WRITE_GOLDEN=1 make unit ARGS=tests/test_render.py``
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kuberay.config import load, parse
from kuberay.manifests.manifest import objects, to_yaml
from switchyard import app
from tests.services import BASE, DEPLOY, ON_KUBERNETES, deployed, merged

GOLDEN = Path(__file__).parent / "data" / "golden"
ROOT = DEPLOY.parent
WRITE = os.environ.get("SWITCHYARD_WRITE_GOLDEN") == "1"


@pytest.mark.parametrize("file", ON_KUBERNETES, ids=lambda file: file.name)
def test_golden(file: Path) -> None:
    golden = GOLDEN / file.name
    text = to_yaml(objects(load(file, {})))
    if WRITE:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert golden.is_file(), f"{golden.name} is missing; see this module's docstring"
    assert text == golden.read_text()


def test_there_is_no_golden_file_without_a_service() -> None:
    assert {file.name for file in GOLDEN.iterdir()} == {file.name for file in ON_KUBERNETES}


def test_the_command_prints_the_same_as_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("SWITCHYARD__")]:
        monkeypatch.delenv(variable)
    file = DEPLOY / "e2e.yaml"
    done = CliRunner().invoke(app, ["render", "-f", str(file)])
    assert (done.exit_code, done.stdout) == (0, to_yaml(objects(deployed("e2e.yaml"))))
    done = CliRunner().invoke(app, ["render", "-f", str(file), "-o", "json"])
    assert json.loads(done.stdout) == {"apiVersion": "v1", "kind": "List", "items": objects(deployed("e2e.yaml"))}


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["-f", "nowhere.yaml"], 1, "There is no service file nowhere.yaml"),
        (["-f", str(DEPLOY / "local.yaml")], 1, "kubernetes.image is missing"),
        (["-f", str(DEPLOY / "e2e.yaml"), "-o", "xml"], 2, "use yaml or json"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], code: int, part: str) -> None:
    done = CliRunner().invoke(app, ["render", *arguments])
    assert done.exit_code == code
    assert part in done.stderr
    assert done.stdout == ""


def test_what_kuberay_would_refuse_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHYARD__KUBERNETES__ENV", "{RAY_enable_autoscaler_v2: 'true'}")
    done = CliRunner().invoke(app, ["render", "-f", str(DEPLOY / "e2e.yaml")])
    assert done.exit_code == 1
    assert "RAY_enable_autoscaler_v2 is set beside autoscalerOptions.version" in done.stderr


def shuffled(value: Any, order: random.Random) -> Any:
    """The same mapping with its keys in another order, at every depth."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


FULL = merged(
    BASE,
    {
        "engine": {"options": {"b": {"y": 1, "x": 2}, "a": [1, 2]}},
        "kubernetes": {
            "env": {"B": "1", "A": "2"},
            "head": {"node_selector": {"y": "1", "x": "2"}, "tolerations": [{"operator": "Exists", "key": "k"}]},
            "worker_groups": [
                {
                    "name": "one",
                    "extra_resources": {"z.test/b": 1, "z.test/a": 2},
                    "node_selector": {"q": "1", "p": "2"},
                    "tolerations": [{"key": "k", "operator": "Exists"}],
                }
            ],
        },
    },
)


def render(data: Any) -> str:
    return to_yaml(objects(parse(yaml.safe_dump(data, sort_keys=False), source="f.yaml", environ={})))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_keys_changes_nothing(seed: int) -> None:
    """KubeRay hashes the pod templates, and a ConfigMap with the release's name is immutable."""
    assert render(shuffled(FULL, random.Random(seed))) == render(FULL)


def test_every_process_prints_the_same() -> None:
    code = "import tests.test_render as t; print(t.render(t.FULL))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "kind: RayService" in outputs.pop()


TEXTS = st.text(alphabet="0123456789eExXo._+-yYnNaAfF:", max_size=14) | st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from("abc"), TEXTS | st.integers() | st.booleans() | st.lists(TEXTS, max_size=2)))
def test_what_is_printed_reads_back_as_it_was(item: dict[str, Any]) -> None:
    assert list(yaml.safe_load_all(to_yaml([item, item]))) == [item, item]


# Numbers or truth values to one of the readers that kubectl has used (go-yaml 2 and 3), some of them not to PyYAML.
LOOK_ALIKES = ["1e3", "12345678e100", "012345678901", "0o17", "1E+3", "-1e5", "0x1f", "y", "N", "1_000", "+12", ".5"]


@pytest.mark.parametrize("value", LOOK_ALIKES)
def test_a_text_that_looks_like_something_else_is_quoted(value: str) -> None:
    """A release's name is hexadecimal: one in a thousand is a number like 12e5, which no label may be."""
    assert f"a: '{value}'" in to_yaml([{"a": value}])
