"""What `deploy --probe` runs in its pod: can the model be read from here?"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import errors as hub

from models import readable
from models.errors import ModelError
from models.readable import File, main
from models.store import hub_errors

WHOLE = [File("m/config.json", 600), File("m/model-00001-of-00002.safetensors", 9 * 10**9), File("m/t.txt", 1)]


def listing(files: Iterable[File]) -> readable.Lister:
    def files_below(bucket: str, prefix: str) -> Iterable[File]:
        assert (bucket, prefix) == ("weights", "team/m/"), "the folder, not names that begin like it"
        return files

    return files_below


@pytest.mark.parametrize("model", ["gs://weights/team/m", "gs://weights/team/m/"])
def test_a_bucket_that_has_the_model(model: str) -> None:
    assert readable.readable(model, None, listing(WHOLE)) == f"{model} is readable: 3 files, 9.0 GB"


@pytest.mark.parametrize(
    ("files", "said"),
    [([], "There is nothing in"), (WHOLE[1:], "has no config.json"), (WHOLE[:1], r"has no \*\.safetensors file")],
)
def test_a_bucket_that_has_less(files: list[File], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        readable.readable("gs://weights/team/m", None, listing(files))


def test_an_image_without_googles_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(ModelError, match="no client for Google buckets"):
        readable.readable("gs://weights/team/m", None)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 10)
    assert "2 files" in readable.readable(str(tmp_path), None)
    with pytest.raises(ModelError, match="There is no folder"):
        readable.readable(str(tmp_path / "none"), None)


def test_the_command_says_it_and_leaves_it_for_kubernetes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination-log"
    monkeypatch.setattr(readable, "TERMINATION_LOG", log)
    assert main(["tiny"]) == 0
    assert not log.exists(), "elsewhere than in a pod it writes nothing"
    log.touch()
    assert main(["tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == log.read_text() == "tiny comes with the image"
    assert main([str(tmp_path / "none")]) == 1
    assert "There is no folder" in log.read_text()


def answered(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/api/models/a/b"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (hub.GatedRepoError("x", response=answered(403)), "a/b is gated. Accept its licence"),
        (hub.RepositoryNotFoundError("x", response=answered(404)), "Hugging Face has no model 'a/b'"),
        (hub.RevisionNotFoundError("x", response=answered(404)), "a/b has no revision 0000"),
        (hub.HfHubHTTPError("x", response=answered(401)), "does not accept the token in HF_TOKEN"),
        (hub.HfHubHTTPError("x", response=answered(500)), "failed: HfHubHTTPError"),
        (httpx2.ConnectError("no route"), "Hugging Face cannot be reached"),
        (httpx2.ReadTimeout("slow"), "Hugging Face cannot be reached"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_hugging_face_answers(error: Exception, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught, hub_errors("a/b", "0" * 40):
        raise error
    assert caught.value.__cause__ is error
