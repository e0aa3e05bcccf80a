"""The bucket for weights, through google-cloud-storage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import Denied, NotFound
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Steps
from cluster.model import Action, Found, Key, Spec, bears_labels

PAGE = 1000
COUNTED = 10_000
"""Objects are counted up to here; a bucket with more says "10000 or more"."""


class Storage:
    """Reads and changes buckets. Bucket names are global: one that we may not see belongs to somebody else."""

    kinds = ("bucket",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._clients = clients
        self._call = clients.call

    def observe(self, names: Collection[str], *, contents: bool = False) -> list[Found]:
        """All of the project, and those of these names that are elsewhere: one call, if all are the project's.

        Args:
            contents: also count the objects of ours.
        """
        buckets = self._listed("storage.buckets.list", self._api.list_buckets)
        here = [self._found(bucket, contents=contents) for bucket in buckets]
        elsewhere = [self.read(Key("bucket", name)) for name in sorted(set(names) - {one.key.name for one in here})]
        return [*here, *(one for one in elsewhere if one)]

    def read(self, key: Key) -> Found | None:
        """One bucket as it is now."""
        try:
            bucket = self._call.maybe("storage.buckets.get", self._api.get_bucket, bucket_or_name=key.name)
        except Denied:
            # Google answers 403 for the buckets of others.
            return Found(key, {}, ours=False)
        return None if bucket is None else self._found(bucket, contents=False)

    def create(self, key: Key, spec: Spec) -> Steps:
        bucket = self._api.bucket(key.name)
        _set(bucket, spec)
        self._call.write(
            "storage.buckets.insert",
            self._api.create_bucket,
            bucket_or_name=bucket,
            location=spec["location"],
        )
        yield from ()

    def update(self, action: Action) -> Steps:
        bucket = self._call.read("storage.buckets.get", self._api.get_bucket, bucket_or_name=action.key.name)
        changed = {change.path.split(".")[0] for change in action.changes}
        spec = {part: action.spec[part] for part in changed}
        if "labels" in spec:  # other people's labels stay
            spec["labels"] = {**(bucket.labels or {}), **spec["labels"]}
        _set(bucket, spec)
        self._call.write("storage.buckets.patch", bucket.patch)
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        bucket = self._api.bucket(key.name)
        try:
            # Old versions are objects too; a bucket with any of them cannot go.
            # A run that was killed here goes on with what is left.
            while blobs := self._listed("storage.objects.list", bucket.list_blobs, versions=True, max_results=PAGE):
                for blob in blobs:
                    self._delete_object(blob)
            self._call.write("storage.buckets.delete", bucket.delete)
        except NotFound:
            return
        yield from ()

    def _delete_object(self, blob: Any) -> None:
        with contextlib.suppress(NotFound):
            self._call.write("storage.objects.delete", blob.delete)

    def _found(self, bucket: Any, *, contents: bool) -> Found:
        spec: dict[str, Any] = dict(bucket._properties)  # the resource as it came; the library has no other word for it
        ours = bears_labels(spec.get("labels"), self._config.name)
        facts = self._contents(bucket) if contents and ours else {}
        return Found(Key("bucket", bucket.name), spec, ours, facts=facts)

    def _listed(self, name: str, method: Callable[..., Iterable[Any]], **more: Any) -> list[Any]:
        """The library asks while it is gone through, and that must happen where errors are looked after."""
        return self._call.read(name, lambda **how: list(method(**how)), **more)

    def _contents(self, bucket: Any) -> Spec:
        blobs = self._listed("storage.objects.list", bucket.list_blobs, versions=True, max_results=COUNTED)
        sizes = [blob.size or 0 for blob in blobs]
        return {"objects": len(sizes), "bytes": sum(sizes)}

    @property
    def _api(self) -> Any:
        return self._clients.storage()


def _set(bucket: Any, spec: Spec) -> None:
    """Put the fields of a spec into a bucket object, through the library's own setters."""
    if "labels" in spec:
        bucket.labels = dict(spec["labels"])
    if "storageClass" in spec:
        bucket.storage_class = spec["storageClass"]
    if "versioning" in spec:
        bucket.versioning_enabled = spec["versioning"]["enabled"]
    if "iamConfiguration" in spec:
        iam = spec["iamConfiguration"]
        bucket.iam_configuration.uniform_bucket_level_access_enabled = iam["uniformBucketLevelAccess"]["enabled"]
        bucket.iam_configuration.public_access_prevention = iam["publicAccessPrevention"]
    if "lifecycle" in spec:
        bucket.lifecycle_rules = [dict(rule) for rule in spec["lifecycle"]["rule"]]
