"""Turn the name of a model into something vLLM can load, fetching or making it where needed.

Five kinds of names: ``embedded`` and ``tiny`` (made here, once, into the cache folder), a local folder, ``gs://`` (left
to vLLM's streaming loader), and a Hugging Face id. Downloads use the token in ``HF_TOKEN``; it is never printed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError

Report = Callable[[str], None]
"""Told what is being done, in a few words."""

WEIGHT_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "tokenizer*", "*.txt", "*.tiktoken"]
_HUB_ID = re.compile(r"(?=.{3,96}$)\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
"""As huggingface_hub's validate_repo_id, which takes a second to import."""


@dataclass(frozen=True)
class Located:
    """Where a model is.

    Attributes:
        model: what vLLM's ``model`` option takes: a folder, a ``gs://`` address, or a Hugging Face id.
        revision: commit, for a Hugging Face id that vLLM loads itself.
        load_format: vLLM's ``load_format`` where the default would not do.
        commit: the commit that is served, if known; for ``GET /release``.
    """

    model: str
    revision: str | None = None
    load_format: str | None = None
    commit: str | None = None


def cache_folder() -> Path:
    """``$SWITCHYARD_CACHE``, or ``switchyard`` in the user's cache folder."""
    if folder := os.environ.get("SWITCHYARD_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "switchyard"


def check(model: str) -> None:
    """Find a wrong name without fetching anything. Takes milliseconds.

    Raises:
        ModelError: the folder is not there or is no model, or the name is no Hugging Face id.
    """
    if model in ("embedded", "tiny"):
        return
    if model.startswith("gs://"):
        if not re.match(r"gs://[^/]+/.", model):
            raise ModelError(f"'{model}' is no place in a bucket: give gs://bucket/path.")
        return
    if _is_path(model):
        _check_folder(_path(model))
        return
    if not _HUB_ID.fullmatch(model) or "--" in model or ".." in model or model.endswith(".git"):
        raise ModelError(
            f"'{model}' is not a model: give 'embedded', a Hugging Face id (owner/name), a folder (beginning with / or "
            "./) or gs://bucket/path."
        )


def locate(model: str, revision: str | None, *, report: Report, everywhere: bool = False) -> Located:
    """Fetch or make ``model`` if it is not there yet, and say where it is.

    Args:
        model: the name, see the module's text.
        revision: commit of a Hugging Face model; None takes the newest.
        report: called with each step that takes time.
        everywhere: several nodes load the model, so hand out a name that each can resolve.

    Raises:
        ModelError: with what to do about it.
    """
    check(model)
    if model == "embedded":
        from models import embedded

        return Located(str(once(embedded.FOLDER, embedded.make, report)), commit=embedded.VERSION)
    if model == "tiny":
        from models import tiny

        return Located(str(once(tiny.FOLDER, tiny.make, report)))
    if model.startswith("gs://"):
        return Located(model, load_format="runai_streamer")
    if _is_path(model):
        return Located(str(_path(model).resolve()))
    folder = _download(model, revision, report)
    if everywhere:
        return Located(model, revision=folder.name, commit=folder.name)
    return Located(str(folder), commit=folder.name)


def once(name: str, make: Callable[[Path, Report], None], report: Report) -> Path:
    """The folder ``name`` in the cache, made by ``make`` if it is not there; whole or not at all, made by one process.

    A second process that asks meanwhile waits. An interrupted run leaves nothing that a later one would trust.
    """
    from filelock import FileLock

    root = cache_folder() / "models"
    folder = root / name
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if folder.is_dir():
                return folder
            for stale in root.glob(f".{name}-*"):
                shutil.rmtree(stale, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
            make(work, report)
            work.chmod(0o755)
            for file in work.iterdir():
                file.chmod(0o644)
            work.rename(folder)
    except OSError as error:
        raise ModelError(
            f"Cannot write the model to {root}: {error.strerror or error}. Free space there, or set SWITCHYARD_CACHE "
            "to a folder that can be written."
        ) from error
    return folder


def _is_path(model: str) -> bool:
    return model.startswith(("/", "./", "../", "~"))


def _path(model: str) -> Path:
    try:
        return Path(model).expanduser()
    except RuntimeError:
        raise ModelError(f"There is no user as in {model}. Check model.id in the service file.") from None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}. Check model.id in the service file.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json, so it is not a model in Hugging Face's format.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no *.safetensors file. Convert the weights to safetensors first.")


def _download(model: str, revision: str | None, report: Report) -> Path:
    from huggingface_hub import snapshot_download

    at = f"{model}@{revision[:12]}" if revision else model
    report(f"looking for {at} (Hugging Face)")
    with hub_errors(model, revision):
        return Path(snapshot_download(model, revision=revision, allow_patterns=WEIGHT_PATTERNS))


@contextmanager
def hub_errors(model: str, revision: str | None) -> Iterator[None]:
    """Turns what Hugging Face's library raises in the block into what to do about it.

    Raises:
        ModelError: the block failed.
    """
    import httpx2
    from huggingface_hub import errors as hub

    at = f"{model}@{revision[:12]}" if revision else model
    try:
        yield
    except hub.GatedRepoError as error:
        raise ModelError(
            f"{model} is gated. Accept its licence on its Hugging Face page, then set HF_TOKEN to a token that may "
            "read it."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelError(f"{model} has no revision {revision}. Check model.revision.") from error
    except hub.RepositoryNotFoundError as error:
        raise ModelError(
            f"Hugging Face has no model '{model}', or it is private and HF_TOKEN is not set or may not read it."
        ) from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise ModelError(
            f"{at} is not on this machine and Hugging Face cannot be reached. Check the network, or set model.id to "
            "'embedded' or to a local folder."
        ) from error
    except (hub.HfHubHTTPError, hub.HFValidationError, OSError) as error:
        if isinstance(error, hub.HfHubHTTPError) and error.response is not None and error.response.status_code == 401:
            raise ModelError(
                "Hugging Face does not accept the token in HF_TOKEN (401). It may be revoked or mistyped: make a new "
                "one on its settings page, or leave HF_TOKEN unset for public models."
            ) from error
        raise ModelError(
            f"Downloading {at} failed: {type(error).__name__}. Run again to go on where it stopped."
        ) from error
