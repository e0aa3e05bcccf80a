from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import embedded, store
from models.errors import ModelError
from models.store import Located, Report


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def silent(_: str) -> None: ...


def one_file(folder: Path, report: Report) -> None:
    report("making")
    (folder / "config.json").write_text("{}")


def test_a_model_is_made_once(cache: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        assert store.once("m-v1", one_file, said.append) == cache / "m-v1"
    assert (cache / "m-v1" / "config.json").read_text() == "{}"
    assert said == ["making"]


def test_others_may_read_it(cache: Path) -> None:
    folder = store.once("m-v1", one_file, silent)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "config.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [RuntimeError("no torch"), ModelError("no package"), KeyboardInterrupt()])
def test_what_failed_half_way_is_not_trusted(cache: Path, error: BaseException) -> None:
    def fails(folder: Path, report: Report) -> None:
        one_file(folder, report)
        raise error

    with pytest.raises(type(error)):
        store.once("m-v1", fails, silent)
    assert not (cache / "m-v1").exists()
    store.once("m-v1", one_file, silent)
    assert sorted(path.name for path in cache.iterdir()) == ["m-v1", "m-v1.lock"]


def test_a_full_disk_is_told(cache: Path) -> None:
    def fails(folder: Path, report: Report) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match=r"No space left on device.*SWITCHYARD_CACHE") as caught:
        store.once("m-v1", fails, silent)
    assert str(cache) in str(caught.value)


def test_a_cache_that_is_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="SWITCHYARD_CACHE"):
        store.once("m-v1", one_file, silent)


def test_two_processes_make_it_once(cache: Path, tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
from models import store
def make(folder, report):
    with open({str(tmp_path / "made")!r}, "a") as log:
        log.write("x")
    time.sleep(0.3)
    (folder / "weights").write_text("whole")
print("ready", flush=True)
sys.stdin.readline()
print((store.once("m-v1", make, print) / "weights").read_text())
"""
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=30)[0] for process in both] == ["whole\n", "whole\n"]
    assert (tmp_path / "made").read_text() == "x"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWITCHYARD_CACHE", "/a")
    assert store.cache_folder() == Path("/a")
    monkeypatch.delenv("SWITCHYARD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert store.cache_folder() == Path("/b/switchyard")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache" / "switchyard"


@pytest.mark.parametrize(
    "name", ["embedded", "tiny", "gs://bucket/model", "google/gemma-2-2b-it", "Owner_1/m.0-x", "a/b"]
)
def test_names_that_can_be_models(name: str) -> None:
    store.check(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gemma",
        "a/b/c",
        "a/",
        "/b",
        "../b",
        "a/..",
        "a/b..c",
        "..\\b/c",
        "~/nothing-here",
        "~nosuchuser/x",
        "./nothing-here",
        "a b/c",
        "a/b!",
        "a/-b",
        "a/b.git",
        "a--b/c",
        "a" * 97 + "/b",
        "gs://",
        "gs:///model",
    ],
    ids=lambda name: name[:16],
)
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        store.check(name)
    assert "\n" not in str(caught.value)


def test_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "m"
    with pytest.raises(ModelError, match="There is no folder"):
        store.check(str(folder))
    folder.mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        store.check(str(folder))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        store.check(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    assert store.locate(str(folder), None, report=silent) == Located(str(folder))
    monkeypatch.chdir(tmp_path)
    assert store.locate("./m", None, report=silent) == Located(str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.locate("~/m", None, report=silent) == Located(str(folder))


def test_a_bucket_is_streamed() -> None:
    assert store.locate("gs://b/m", None, report=silent) == Located("gs://b/m", load_format="runai_streamer")


def hub_cache(root: Path, repo: str, commit: str) -> None:
    """What huggingface_hub leaves behind after a download."""
    repository = root / f"models--{repo.replace('/', '--')}"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


OFFLINE = """
import sys
from models import store
try:
    print(repr(store.locate(sys.argv[1], sys.argv[2] or None, report=lambda _: None, everywhere=sys.argv[3] == "1")))
except store.ModelError as error:
    print(f"ModelError: {error}")
"""


def offline(tmp_path: Path, name: str, revision: str = "", everywhere: bool = False) -> str:
    """``locate`` in a process without network, as huggingface_hub reads its settings when it is imported."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_TOKEN": "hf_secret"}
    command = [sys.executable, "-c", OFFLINE, name, revision, str(int(everywhere))]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "hf_secret" not in done.stdout
    return done.stdout.strip()


def test_a_download_that_is_here_already(tmp_path: Path) -> None:
    commit = "c" * 40
    hub_cache(tmp_path / "hub", "owner/m", commit)
    snapshot = tmp_path / "hub" / "models--owner--m" / "snapshots" / commit
    assert offline(tmp_path, "owner/m", commit) == repr(Located(str(snapshot), commit=commit))
    assert offline(tmp_path, "owner/m", everywhere=True) == repr(Located("owner/m", revision=commit, commit=commit))


def test_a_download_that_is_not_here_and_cannot_be() -> None:
    answer = offline(Path("/nonexistent"), "owner/m", "d" * 40)
    assert answer.startswith("ModelError: owner/m@dddddddddddd is not on this machine")


def test_the_embedded_model_is_pinned_to_what_is_locked() -> None:
    locked = (Path(__file__).parent.parent / "requirements" / "cpu.txt").read_text()
    assert embedded.VERSION.replace("-0", "==0") in locked
    assert embedded.VERSION.rpartition("-")[2] in embedded.FOLDER


@pytest.mark.live
def test_the_tiny_model(cache: Path) -> None:
    """Live as it imports torch, which takes seconds."""
    located = store.locate("tiny", None, report=silent)
    folder = Path(located.model)
    assert folder.parent == cache
    settings = json.loads((folder / "config.json").read_text())
    from safetensors import safe_open
    from tokenizers import Tokenizer

    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
        parameters = sum(weights.get_tensor(name).numel() for name in names)
        embeddings = weights.get_tensor("model.embed_tokens.weight")
    assert parameters < 1_000_000
    assert tuple(embeddings.shape) == (settings["vocab_size"], settings["hidden_size"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode("the time \u00e9 \U0001f600").ids) == "the time \u00e9 \U0001f600"
    assert tokenizer.token_to_id("<|end|>") == 0
    assert "eos_token_id" not in settings
