from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.config import ServiceConfig, parse_config
from serve_app.errors import ConfigError

DEPLOY = sorted((Path(__file__).parent.parent / "deploy").glob("*.yaml"))
COMMIT = "299a8560bedf22ed1c72a8a11e7dce4a7f9f51f8"


def parse(text: str = "", **environ: str) -> ServiceConfig:
    return parse_config(text, source="f.yaml", environ=environ)


def refusal(text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **environ)
    return str(caught.value)


def at(config: ServiceConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n"])
def test_an_empty_file_is_all_defaults(text: str) -> None:
    config = parse(text)
    assert config == ServiceConfig()
    assert (config.name, config.model.id, config.engine.accelerator) == ("llm", "embedded", "cpu")
    assert (config.serving.port, config.serving.defaults.max_tokens) == (8000, 256)


@pytest.mark.parametrize("file", DEPLOY, ids=lambda file: file.name)
def test_deploy_files_parse(file: Path) -> None:
    config = parse_config(file.read_text(), source=str(file), environ={})
    assert config.scaling.min_replicas <= config.scaling.max_replicas
    assert len(config.release) == 12
    assert config.serving.defaults.max_tokens < (config.model.max_model_len or 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modl:\n  id: a\n", "f.yaml:1: unknown key 'modl'; did you mean 'model'?"),
        ("model:\n  id: a\n  dtpye: auto\n", "f.yaml:3: unknown key 'model.dtpye'; did you mean 'model.dtype'?"),
        (
            "serving:\n  defaults:\n    max_token: 3\n",
            "f.yaml:3: unknown key 'serving.defaults.max_token'; did you mean 'serving.defaults.max_tokens'?",
        ),
        ("engine:\n  max_tokens: 3\n", "f.yaml:2: unknown key 'engine.max_tokens'; did you mean 'serving.defaults."),
        ("port: 80\n", "f.yaml:1: unknown key 'port'; did you mean 'serving.port'?"),
        ("xyzzy: 1\n", "f.yaml:1: unknown key 'xyzzy'; known here: name, model, engine, serving, scaling."),
        ("model:\n  id: a\n  id: b\n", "f.yaml:3: 'model.id' is given twice, first on line 2."),
        ("model: {id: a}\nname: x\nmodel: {id: b}\n", "f.yaml:3: 'model' is given twice, first on line 1."),
        ("engine:\n  options: {a: 1, a: 2}\n", "f.yaml:2: 'engine.options.a' is given twice"),
        ("engine:\n  options:\n    a:\n    - b: 1\n      b: 2\n", "f.yaml:5: 'engine.options.a.0.b' is given twice"),
        ("model:\n\tid: a\n", "f.yaml:2: not valid YAML"),
        ("model: {id: a\n", "not valid YAML"),
        ("name: a\n---\nname: b\n", "not valid YAML"),
        ("name: !!python/object:os.system {}\n", "f.yaml:1: not valid YAML"),
        ("engine:\n  options:\n    x: !!timestamp soon\n", "not valid YAML"),
        ("name: \0\n", "not valid YAML"),
        ("- model\n", "must be a mapping"),
        ("model\n", "must be a mapping"),
        ("3\n", "must be a mapping"),
        ("model: 3\n", "f.yaml:1: model: "),
        ("engine:\n  - 1\n", "f.yaml:1: engine: "),
        ("1: 2\n", "f.yaml:1: 1: "),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_hint(text: str, message: str) -> None:
    assert message in refusal(text)


def test_every_mistake_is_told_at_once() -> None:
    assert len(refusal("modl: {}\nengine:\n  max_num_seqs: 0\n").splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: [*d, *d]\n",
        "model: &m {id: a}\n",
        "model:\n  <<: *m\n",
    ],
)
def test_anchors_and_aliases_are_refused(text: str) -> None:
    assert "anchors and aliases are not supported" in refusal(text)


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 500, "a: " + "{a: " * 500 + "}" * 500, "- " * 500], ids=["list", "mapping", "block"]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Gemma"),
        ("name", "-a"),
        ("name", "a" * 48),
        ("name", '"llm\\n"'),
        ("model.id", "''"),
        ("model.id", "' a/b'"),
        ("model.id", '"a\\nb"'),
        ("model.id", "s3://bucket/x"),
        ("model.id", "https://user:password@host/x"),
        ("model.id", "HTTPS://host/x"),
        ("model.id", "null"),
        ("model.id", "2026-01-01"),
        ("model.revision", "main"),
        ("model.revision", COMMIT[:12]),
        ("model.revision", COMMIT.upper()),
        ("model.revision", f'"{COMMIT}\\n"'),
        ("model.dtype", "int4"),
        ("model.max_model_len", "15"),
        ("engine.accelerator", "''"),
        ("engine.cpus_per_worker", "-1"),
        ("engine.cpus_per_worker", ".inf"),
        ("engine.tensor_parallel_size", "0"),
        ("engine.pipeline_parallel_size", "65"),
        ("engine.max_num_seqs", "0"),
        ("engine.max_num_seqs", "8.5"),
        ("engine.max_num_seqs", "true"),
        ("engine.max_num_seqs", "many"),
        ("engine.max_waiting", "-1"),
        ("engine.gpu_memory_utilization", "1"),
        ("engine.kv_cache_gib", "0"),
        ("engine.kv_cache_gib", ".inf"),
        ("engine.options", "[1]"),
        ("engine.options", "{1: 2}"),
        ("engine.options", "{x: !!binary /w==}"),
        ("engine.options", "{x: !!set {a, b}}"),
        ("serving.port", "0"),
        ("serving.port", "65536"),
        ("serving.max_request_s", "0"),
        ("serving.max_request_s", ".inf"),
        ("serving.max_body_bytes", "1"),
        ("serving.health_window_s", "1"),
        ("serving.ray_metrics", "maybe"),
        ("serving.defaults.max_tokens", "0"),
        ("serving.defaults.temperature", "2.1"),
        ("serving.defaults.temperature", ".nan"),
        ("serving.defaults.top_p", "0"),
        ("serving.defaults.top_k", "-2"),
        ("scaling.min_replicas", "-1"),
        ("scaling.max_replicas", "0"),
        ("scaling.max_replicas", "1000000000"),
        ("scaling.target_ongoing_requests", "0"),
        ("scaling.target_ongoing_requests", ".inf"),
        ("scaling.upscale_delay_s", "-1"),
    ],
)
def test_values_out_of_range_are_refused_by_name(key: str, value: str) -> None:
    lines, indent = "", ""
    for part in key.split("."):
        lines += f"\n{indent}{part}:"
        indent += "  "
    message = refusal(f"{lines} {value}\n".lstrip())
    assert key in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("scaling: {min_replicas: 3, max_replicas: 2}\n", ["f.yaml:1", "scaling", "min_replicas (3)", "(2)"]),
        ("model: {max_model_len: 256}\n", ["serving.defaults.max_tokens (256)", "model.max_model_len (256)"]),
        ("engine: {options: {model: x}}\n", ["engine.options", "model: use model.id"]),
        (
            "engine: {options: {dtype: x, max_num_seqs: 1}}\n",
            ["dtype: use model.dtype", "max_num_seqs: use engine.max_num_seqs"],
        ),
        ("engine: {options: {distributed_executor_backend: ray}}\n", ["use engine.pipeline_parallel_size"]),
    ],
)
def test_settings_that_contradict_each_other(text: str, parts: list[str]) -> None:
    message = refusal(text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("SWITCHYARD__ENGINE__MAX_NUM_SEQS", "8", "engine.max_num_seqs", 8),
        ("SWITCHYARD__SERVING__DEFAULTS__STREAM", "true", "serving.defaults.stream", True),
        ("SWITCHYARD__ENGINE__OPTIONS__BLOCK_SIZE", "32", "engine.options", {"block_size": 32}),
        ("SWITCHYARD__ENGINE__OPTIONS", "{a: [1, 2]}", "engine.options", {"a": [1, 2]}),
        ("SWITCHYARD__MODEL__MAX_MODEL_LEN", "null", "model.max_model_len", None),
        ("MODEL_ID", "owner/model", "model.id", "owner/model"),
        ("MODEL_ID", "123", "model.id", "123"),
        ("DEFAULT_MAX_LENGTH", "64", "serving.defaults.max_tokens", 64),
        ("DEFAULT_TEMPERATURE", "0", "serving.defaults.temperature", 0.0),
        ("STREAMING_MODE", "True", "serving.defaults.stream", True),
        ("STREAMING_MODE", "off", "serving.defaults.stream", False),
        ("USE_4BIT", "1", "model.quantization", "bitsandbytes"),
        ("USE_4BIT", "false", "model.quantization", None),
    ],
)
def test_overrides(variable: str, value: str, key: str, expected: object) -> None:
    gpu = "model: {quantization: fp8}\nengine: {accelerator: L4}\n"  # on a CPU 4 bit is refused
    assert at(parse(gpu if variable == "USE_4BIT" else "", **{variable: value}), key) == expected


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("SWITCHYARD__ENGINE__MAX_NUM_SEQ", "8", "did you mean 'engine.max_num_seqs'?"),
        ("SWITCHYARD__ENGIN__X", "8", "did you mean 'engine'?"),
        ("SWITCHYARD__", "8", "unknown key ''"),
        ("SWITCHYARD__NAME__X", "8", "name"),
        ("SWITCHYARD__NAME", "[a", "not valid YAML"),
        ("SWITCHYARD__NAME", "2026-13-45", "not valid YAML"),
        ("SWITCHYARD__NAME", "!!timestamp soon", "not valid YAML"),
        ("SWITCHYARD__NAME", "[" * 500, "not valid YAML"),
        ("SWITCHYARD__ENGINE__OPTIONS__X", "&a [*a]", "SWITCHYARD__ENGINE__OPTIONS__X"),
        ("SWITCHYARD__ENGINE__MAX_NUM_SEQS", "0", "SWITCHYARD__ENGINE__MAX_NUM_SEQS"),
        ("MODEL_ID", "", "model.id"),
        ("DEFAULT_MAX_LENGTH", "many", "DEFAULT_MAX_LENGTH='many': must be a number"),
        ("DEFAULT_MAX_LENGTH", "1.5", "DEFAULT_MAX_LENGTH='1.5': must be a number"),
        ("DEFAULT_TEMPERATURE", "warm", "DEFAULT_TEMPERATURE='warm': must be a number"),
        ("DEFAULT_TEMPERATURE", "nan", "serving.defaults.temperature"),
        ("STREAMING_MODE", "maybe", "STREAMING_MODE='maybe': use true or false"),
        ("USE_4BIT", "4", "USE_4BIT='4': use true or false"),
    ],
    ids=lambda value: value[:24],
)
def test_wrong_overrides_are_told(variable: str, value: str, part: str) -> None:
    assert part in refusal(**{variable: value})


def test_an_override_is_not_blamed_on_a_line_of_the_file() -> None:
    message = refusal("engine:\n  max_num_seqs: 8\n", SWITCHYARD__ENGINE__MAX_NUM_SEQS="0")
    assert "f.yaml:2" not in message


def test_an_override_of_a_single_value_has_no_parts() -> None:
    assert "'name' is a single value" in refusal("name: a\n", SWITCHYARD__NAME__X="1")


def test_the_long_name_of_an_override_wins_over_the_short_one() -> None:
    assert parse(MODEL_ID="a/b", SWITCHYARD__MODEL__ID="c/d").model.id == "c/d"


def test_model_id_leaves_the_files_revision_and_name_behind() -> None:
    text = f"model: {{id: a/b, revision: {COMMIT}, name: old, max_model_len: 1024}}\n"
    model = parse(text, MODEL_ID="c/d").model
    assert (model.id, model.revision, model.served_name, model.max_model_len) == ("c/d", None, "d", 1024)
    assert parse(text).model.served_name == "old"


KEYS = ["name", "model", "engine", "serving", "scaling", "id", "options", "max_num_seqs", "stream"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(KEYS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text() | st.text(alphabet="model:id {}[]\n\t-&*!'\"#?|>%@`,0.", max_size=60) | VALUES.map(repr))
def test_no_text_raises_anything_but_config_error(text: str) -> None:
    try:
        config = parse_config(text, source="f", environ={})
    except ConfigError as error:
        assert str(error)
    else:
        assert len(config.release) == 12


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(["SWITCHYARD__NAME", "SWITCHYARD__ENGINE__OPTIONS", "MODEL_ID", "USE_4BIT"]), st.text())
def test_no_override_raises_anything_but_config_error(variable: str, value: str) -> None:
    try:
        parse_config("", source="f", environ={variable: value})
    except ConfigError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model: {quantization: bitsandbytes}", "needs a GPU"),
        ("engine: {options: {hf_token: x}}", "the environment variable HF_TOKEN"),
        ("engine: {options: {data_parallel_size: 2}}", "scaling.min_replicas"),
        ("serving: {api_keys_file: ''}", "serving.api_keys_file"),
    ],
)
def test_what_would_go_wrong_later_is_refused(text: str, part: str) -> None:
    assert part in refusal(text)


def test_an_empty_override_is_no_value() -> None:
    """An unset variable of a pipeline must not open a service that keys were meant to close."""
    assert "is set but empty" in refusal(SWITCHYARD__SERVING__API_KEYS_FILE="")
