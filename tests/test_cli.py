from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

import switchyard
from serve_app import __version__
from serve_app.config import ENVIRONMENT_ALIASES, ServiceConfig
from serve_app.load import CONFIG_VARIABLE, load
from service_file import OVERRIDE_PREFIX

ROOT = Path(__file__).parent.parent
SWITCHYARD = Path(sys.executable).with_name("switchyard")
HEAVY = ("ray", "vllm", "torch", "transformers", "fastapi", "numpy")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of whoever runs the tests."""
    for name in [
        *ENVIRONMENT_ALIASES,
        CONFIG_VARIABLE,
        *(key for key in os.environ if key.startswith(OVERRIDE_PREFIX)),
    ]:
        monkeypatch.delenv(name, raising=False)


def installed(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command, env = [str(SWITCHYARD), *arguments], {**os.environ, **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False, input="")


def invoke(*arguments: str) -> Result:
    """The same in this process, which takes a hundredth of the time."""
    return CliRunner().invoke(switchyard.app, arguments)


def test_help_is_quick() -> None:
    """The best of a few, as the machine may be busy with something else."""
    took: list[float] = []
    while min(took, default=9) > 0.5 and len(took) < 6:
        begun = time.monotonic()
        assert installed("--help").returncode == 0
        took.append(time.monotonic() - begun)
    assert min(took) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["config", "show"], ["version"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, switchyard\n"
        "try: switchyard.main()\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", ["serve", "chat", "config", "config show", "config schema", "version"])
def test_every_command_has_help(command: str) -> None:
    done = invoke(*command.split(), "--help")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_version() -> None:
    assert invoke("version").stdout == f"{__version__}\n"


@pytest.mark.parametrize("file", sorted((ROOT / "deploy").glob("*.yaml")), ids=lambda file: file.name)
@pytest.mark.parametrize("output", ["yaml", "json"])
def test_config_show_can_be_read_back(file: Path, output: str) -> None:
    done = invoke("config", "show", "-f", str(file), "--output", output)
    assert (done.exit_code, done.stderr) == (0, "")
    data = json.loads(done.stdout) if output == "json" else yaml.safe_load(done.stdout)
    config = load(str(file), {})
    assert data.pop("release") == config.release
    assert ServiceConfig.model_validate(data) == config


def test_config_show_takes_overrides_and_the_default_file() -> None:
    done = installed("config", "show", SWITCHYARD__NAME="other", MODEL_ID="a/b")
    shown = yaml.safe_load(done.stdout)
    assert (shown["name"], shown["model"]["id"], shown["engine"]["max_num_seqs"]) == ("other", "a/b", 16)


def test_config_schema_describes_the_deploy_files() -> None:
    schema = json.loads(invoke("config", "schema").stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for file in (ROOT / "deploy").glob("*.yaml"):
        validator.validate(yaml.safe_load(file.read_text()))
    for wrong in ({"modl": {}}, {"engine": {"max_num_seqs": 0}}, {"name": "A"}):
        assert not validator.is_valid(wrong)


@pytest.mark.parametrize("command", [["config", "show", "-f"], ["serve", "-f"]])
def test_a_wrong_file_ends_with_1_and_one_line(command: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("modl: {}\n")
    for file, part in [(tmp_path / "missing.yaml", "There is no service file"), (wrong, "did you mean 'model'?")]:
        done = installed(*command, str(file))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("switchyard: ")
        assert part in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_wrong_override_ends_with_1_and_one_line() -> None:
    done = installed("config", "show", USE_4BIT="perhaps")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["config"],
        ["nosuch"],
        ["config", "show", "--output", "xml"],
        ["config", "show", "extra"],
        ["serve", "--port", "0"],
        ["serve", "--port", "http"],
        ["serve", "--nosuch"],
        ["chat", "--max-tokens", "0"],
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1", "nowhere"])
def test_chat_with_nobody_ends_with_1_and_one_line(url: str) -> None:
    done = installed("chat", "Hi?", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


PIN = "299a8560bedf22ed1c72a8a11e7dce4a7f9f51f8"


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        ("{id: owner/name}", True),
        (f"{{id: owner/name, revision: {PIN}}}", False),
        ("{id: embedded}", False),
        ("{id: gs://bucket/name}", False),
        ("{id: ./folder/name}", False),
    ],
)
def test_a_model_that_may_change_is_warned_of(tmp_path: Path, model: str, warned: bool) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(f"model: {model}\n")
    done = invoke("config", "show", "-f", str(file))
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout)["release"]
    assert [line for line in done.stderr.splitlines() if "has no model.revision" in line] == done.stderr.splitlines()
    assert bool(done.stderr) is warned


def test_serve_warns_before_it_does_anything(tmp_path: Path) -> None:
    """Then fails, as no machine has so many CPUs."""
    file = tmp_path / "service.yaml"
    file.write_text("model: {id: owner/name}\nengine: {cpus_per_worker: 4096}\n")
    done = installed("serve", "-f", str(file))
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("switchyard: warning: model.id owner/name has no model.revision")
    assert "4096" in second


def test_what_gpus_cost_comes_from_the_cluster_section() -> None:
    prices = switchyard._gpu_prices(str(ROOT / "deploy" / "gke-l4.yaml"))
    on_demand, spot = prices.of("nvidia-l4", False), prices.of("nvidia-l4", True)
    assert on_demand is not None and spot is not None
    assert 0 < spot < on_demand < 5
    assert prices.of("nvidia-h100-80gb", False) is None, "no such pool"
    assert prices.source
    assert switchyard._gpu_prices(str(ROOT / "deploy" / "local.yaml")).of("nvidia-l4", False) is None
