import dataclasses
import gzip
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuberay.errors import ConfigError
from kuberay.look import bundle
from kuberay.look.redact import LOG_LIMIT, REDACTED, redact, redact_object, tail
from kuberay.snapshot import Snapshot
from tests.bundles import case

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
NAMES = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-._%"), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def sorted_objects(snapshot: Snapshot) -> list[str]:
    return sorted(json.dumps(redact_object(one), sort_keys=True) for one in snapshot.objects)


@pytest.mark.parametrize("name", ["healthy", "held", "node-pool-at-maximum", "crd-missing"])
def test_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    snapshot = case(name).snapshot()
    path = tmp_path / "out.tgz"
    bundle.write(snapshot, path)
    found = bundle.read(path)
    assert sorted_objects(found) == sorted_objects(snapshot)
    assert (found.serve, found.logs, found.unreadable) == (snapshot.serve, snapshot.logs, snapshot.unreadable)
    assert (found.taken, found.context, found.namespace, found.name) == (
        snapshot.taken,
        snapshot.context,
        snapshot.namespace,
        snapshot.name,
    )
    assert bundle.pack(found) == bundle.pack(snapshot)


@settings(max_examples=60, deadline=None)
@given(
    logs=st.dictionaries(st.lists(NAMES, min_size=2, max_size=3).map("/".join), st.text(max_size=200), max_size=4),
    serve=st.dictionaries(NAMES, JSON, max_size=3),
    spec=JSON,
    kind=NAMES,
)
def test_whatever_was_seen_comes_back(logs: dict[str, str], serve: dict[str, Any], spec: Any, kind: str) -> None:
    thing = {"kind": kind, "metadata": {"name": "x"}, "spec": spec}
    snapshot = Snapshot("2026-11-22T12:00:00Z", "ctx", "ns", "svc", (thing,), serve, logs, ("é",))
    found = bundle.unpack(bundle.pack(snapshot))
    assert list(found.objects) == [redact_object(thing)]
    assert found.serve == {key: redact_object(value) for key, value in serve.items()}
    # A log is bytes that somebody wrote; what is no text in UTF-8 becomes a question mark.
    assert found.logs == {key: redact(log.encode("utf-8", "replace").decode()) for key, log in logs.items()}


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=100)
    | st.from_regex(r"(?:token|Bearer|password|hf_|://a:|=| |: |\"|\[redacted\]|[a-z]){0,12}")
)
def test_redacting_twice_changes_nothing(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_the_same_bytes_whatever_the_order() -> None:
    snapshot = case("held").snapshot()
    turned = dataclasses.replace(
        snapshot,
        objects=tuple(reversed(snapshot.objects)),
        logs=dict(reversed(list(snapshot.logs.items()))),
    )
    assert bundle.pack(turned) == bundle.pack(snapshot)


def test_written_whole_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "out.tgz"
    path.write_text("an older one")
    bundle.write(case("healthy").snapshot(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["out.tgz"]
    with pytest.raises(ConfigError, match="Cannot write the bundle"):
        bundle.write(case("healthy").snapshot(), tmp_path / "nowhere" / "out.tgz")


SECRETIVE: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "managedFields": [{"manager": SECRET}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"x": SECRET})},
    },
    "spec": {
        "containers": [
            {
                "name": "c",
                "env": [
                    {"name": "RAY_AUTH_TOKEN", "value": "plain-value-one"},
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": "plain-value-two"},
                    {"name": "REDIS_PASSWORD", "value": "plain-value-three"},
                    {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "hf_api_token"}}},
                    {"name": "MAX_TOKENS", "value": "256"},
                ],
                "command": ["curl", "-H", f"Authorization: Bearer {SECRET}", "https://me:plain-value-four@example.com"],
            }
        ]
    },
}


def test_secrets_stay_where_they_are() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "hf-secret"}, "data": {"hf_api_token": "cGxhaW4tdmFsdWUtZml2ZQ=="}}
    config = {
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
        "data": {"service.yaml": "api_key: plain-value-six\nid: a/b"},
    }
    log = (
        f"HF_TOKEN={SECRET}\nx-ray-authorization: Bearer plain-value-seven\ntoken: {SECRET}\n"
        "-----BEGIN PRIVATE KEY-----\nplain-value-eight\n-----END PRIVATE KEY-----\nmax_tokens=256\n"
    )
    snapshot = Snapshot(
        "t", "c", "n", "s", (SECRETIVE, secret, config), {"c": {"args": {"hf_token": "plain-value-nine"}}}
    )
    snapshot = dataclasses.replace(snapshot, logs={"p/c": log}, unreadable=(f"401 for {SECRET}",))
    found = bundle.unpack(bundle.pack(snapshot))
    everything = gzip.decompress(bundle.pack(snapshot)).decode("utf-8", "replace")
    for leaked in (SECRET, "plain-value", "cGxhaW4"):
        assert leaked not in everything
    assert {"name": "MAX_TOKENS", "value": "256"} in found.objects[1]["spec"]["containers"][0]["env"]
    assert "secretKeyRef" in everything
    assert '"hf_api_token": ""' in everything
    assert "max_tokens=256" in found.logs["p/c"]
    assert "id: a/b" in everything


@pytest.mark.parametrize(
    "text",
    [
        "Token authentication is enabled but the authentication token is invalid or incorrect.",
        'MountVolume.SetUp failed for volume "hf-token" : secret "hf-secret" not found',
        "couldn't find key hf_api_token in Secret models/hf-secret",
        'secret "gemma-ray-token" not found',
        "max_tokens=256, prompt_tokens: 12",
        "RayService gemma is Ready",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abcdefgh",
        "RAY_AUTH_TOKEN=0123456789abcdef",
        '"password": "longenough"',
        "redis://default:hunter2hunter2@redis:6379",
        "AIza" + "b" * 35,
        "ya29.a0AfH6SMBx",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    assert REDACTED in redact(f"before {text} after")
    assert text.rsplit(maxsplit=1)[-1] not in redact(f"before {text} after")


def test_logs_are_bounded_at_a_line() -> None:
    log = "".join(f"line {place}\n" for place in range(100_000))
    kept = bundle.unpack(bundle.pack(Snapshot("t", "c", "n", "s", logs={"p/c": log}))).logs["p/c"]
    assert len(kept) <= LOG_LIMIT
    assert kept.startswith("line ")
    assert kept.endswith("line 99999\n")
    assert tail(tail(log)) == tail(log)


def packed(members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            entry.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


META = json.dumps(
    {"version": 1, "taken": "t", "context": "c", "namespace": "n", "name": "s", "unreadable": []}
).encode()
DEEP = b"[" * 200_000
HOSTILE = {
    "empty": b"",
    "not a tar": b"hello",
    "gzip of no tar": gzip.compress(b"hello"),
    "cut short": bundle.pack(Snapshot("t", "c", "n", "s", logs={"p/c": "x" * 5000}))[:-40],
    "no meta": packed({"objects/Pod.json": b"[]"}),
    "another version": packed({"meta.json": b'{"version": 99}'}),
    "meta a list": packed({"meta.json": b"[]"}),
    "meta no JSON": packed({"meta.json": b"\xff\x00"}),
    "meta without names": packed({"meta.json": b'{"version": 1}'}),
    "parent": packed({"meta.json": META, "logs/../../../etc/cron.d/x.log": b"x"}),
    "absolute": packed({"meta.json": META, "/etc/cron.d/x.log": b"x"}),
    "unknown": packed({"meta.json": META, "run.sh": b"x"}),
    "link": packed({"meta.json": b""}, kind=tarfile.SYMTYPE),
    "device": packed({"meta.json": b""}, kind=tarfile.CHRTYPE),
    "object a number": packed({"meta.json": META, "objects/Pod.json": b"[1]"}),
    "objects a number": packed({"meta.json": META, "objects/Pod.json": b"7"}),
    "no name": packed({"meta.json": META, "objects/Pod.json": b'[{"metadata": {"name": 3}}]'}),
    "nested": packed({"meta.json": META, "serve/c.json": DEEP}),
    "many": packed({f"logs/p/{place}.log": b"" for place in range(bundle.MEMBER_LIMIT + 1)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_bundle_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in.tgz"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ConfigError) as caught:
        bundle.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is no bundle that can be used: ")
    assert "\n" not in message
    assert len(message) < 400
    assert [one.name for one in tmp_path.iterdir()] == ["in.tgz"]


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CONTENT_LIMIT", 2**20)
    with pytest.raises(ConfigError, match="unpacks to more than 1 MiB"):
        bundle.unpack(packed({"meta.json": META, "logs/p/c.log": b"\0" * 2**22}))
    monkeypatch.setattr(bundle, "FILE_LIMIT", 100)
    with pytest.raises(ConfigError, match="larger than"):
        bundle.unpack(packed({"meta.json": META}))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the bundle"):
        bundle.read(tmp_path / "none.tgz")
    with pytest.raises(ConfigError, match="Cannot read the bundle"):
        bundle.read(tmp_path)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_byte_turned_is_an_error_or_no_matter(place: int, byte: int) -> None:
    data = bytearray(bundle.pack(Snapshot("t", "c", "n", "s", logs={"p/c": "x" * 300})))
    data[place % len(data)] = byte
    try:
        bundle.unpack(bytes(data))
    except ConfigError as error:
        assert str(error)
