"""Can this machine read a model, without fetching it? ``python -m models.readable MODEL [--revision COMMIT]``.

What `switchyard deploy --probe` runs in a pod of the service's image and account. One line says what was found; exit
status 1 where the model could not be served from here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.errors import ModelError
from models.store import check, hub_errors

TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes looks for a container's last words."""

LISTED = 10_000


class File(NamedTuple):
    """A file of a model: its name and bytes."""

    name: str
    size: int


Lister = Callable[[str, str], Iterable[File]]
"""(bucket, prefix) -> the files below it."""


def readable(model: str, revision: str | None, bucket_files: Lister | None = None) -> str:
    """What there is of the model, in one sentence.

    Args:
        model: as in ``model.id``.
        revision: as in ``model.revision``.
        bucket_files: lists a bucket; by default Google's client does.

    Raises:
        ModelError: it cannot be read from here, with what to do.
    """
    check(model)
    if model in ("embedded", "tiny"):
        return f"{model} comes with the image"
    if model.startswith("gs://"):
        bucket, _, prefix = model.removeprefix("gs://").partition("/")
        files = list((bucket_files or _google)(bucket, prefix.rstrip("/") + "/"))
        return _weights(model, files)
    if model.startswith(("/", ".", "~")):
        folder = Path(model).expanduser()
        return _weights(model, [File(path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file()])
    return _hub(model, revision)


def _weights(model: str, files: list[File]) -> str:
    if not files:
        raise ModelError(f"There is nothing in {model}. Check model.id, and that the upload is complete.")
    names = [one.name.rsplit("/", 1)[-1] for one in files]
    for wanted, found in (
        ("config.json", "config.json" in names),
        ("*.safetensors file", any(one.endswith(".safetensors") for one in names)),
    ):
        if not found:
            raise ModelError(f"{model} has no {wanted}, so vLLM cannot load it. Upload the whole model.")
    gigabytes = sum(one.size for one in files) / 1e9
    return f"{model} is readable: {len(files)} files, {gigabytes:.1f} GB"


def _google(bucket: str, prefix: str) -> Iterator[File]:
    try:
        from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, Unauthorized
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import storage
    except ImportError as error:
        raise ModelError(
            "This image has no client for Google buckets: it is built for CPUs. Build it with STACK=gpu, or take "
            "another model.id."
        ) from error
    try:
        found = storage.Client(project="-").list_blobs(bucket, prefix=prefix, max_results=LISTED, timeout=30)
        yield from (File(one.name, one.size or 0) for one in found)
    except (Forbidden, Unauthorized) as error:
        raise ModelError(
            f"403 from storage.googleapis.com: this account may not read gs://{bucket}. Give it roles/"
            f"storage.objectViewer there (switchyard cluster apply does). Google says: {error.message}"
        ) from error
    except NotFound as error:
        raise ModelError(f"The specified bucket does not exist: gs://{bucket}. Check model.id.") from error
    except (GoogleAuthError, GoogleAPICallError, OSError) as error:
        raise ModelError(f"gs://{bucket} cannot be read from here: {type(error).__name__}: {error}") from error


def _hub(model: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    with hub_errors(model, revision):
        # The card of a gated model is public, its files are not: only this asks for the right to them.
        api.auth_check(model)
        found = api.model_info(model, revision=revision, files_metadata=True, timeout=30)
    return _weights(model, [File(one.rfilename, one.size or 0) for one in found.siblings or ()])


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="models.readable", description="Whether a model can be read from here.")
    parser.add_argument("model")
    parser.add_argument("--revision")
    given = parser.parse_args(arguments)
    try:
        said, status = readable(given.model, given.revision), 0
    except ModelError as error:
        said, status = str(error), 1
    print(said)
    if TERMINATION_LOG.is_file():
        TERMINATION_LOG.write_text(said[:4000], encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
