"""Which cluster and as whom: kubeconfig files, credential plugins, and the service account of a pod."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kuberay.api.client import Api
from kuberay.api.connection import connect
from kuberay.errors import ConfigError, Unauthorized, Unreachable
from tests.fake_kubernetes import FakeKubernetes, Reply, certificate, fake_kubernetes, status

VERSION = Reply({"gitVersion": "v1.36.3"})


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with fake_kubernetes() as server:
        server.answer = lambda _: VERSION
        yield server


def plugin(folder: Path, code: str, name: str = "plugin") -> dict[str, Any]:
    """A kubeconfig user whose credentials come from a program."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(path)}}


def credential(token: str, expires: str = "2999-01-01T00:00:00Z") -> str:
    status = {"token": token, "expirationTimestamp": expires}
    said = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(said)!r})"


def test_the_context_is_known_before_anything_is_sent(fake: FakeKubernetes, tmp_path: Path) -> None:
    api = Api.connect(kubeconfig=fake.kubeconfig(tmp_path))
    assert (api.context, api.address, api.namespace) == ("fake", fake.url, "default")
    assert fake.requests == []


def test_files_are_joined_as_kubectl_does(fake: FakeKubernetes, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = fake.kubeconfig(tmp_path / "a")
    second = tmp_path / "b"
    other = {"contexts": [{"name": "other", "context": {"cluster": "fake", "user": "me", "namespace": "prod"}}]}
    second.write_text(yaml.safe_dump({**other, "clusters": [], "users": []}))
    api = Api.connect(context="other", environ={"KUBECONFIG": f"{first}:{second}:{tmp_path}/missing"})
    assert (api.context, api.namespace, api.version()) == ("other", "prod", "v1.36.3")


def test_an_unknown_context_is_answered_with_those_there_are(fake: FakeKubernetes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no context 'nope' in .*Choose one with --context: fake\."):
        connect("nope", fake.kubeconfig(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "a: [", "clusters: 1", "contexts: []"])
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(ConfigError, match="kubeconfig"):
        connect(kubeconfig=str(path))


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gcloud container clusters get-credentials"):
        connect(environ={"HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match=f"there is no file {tmp_path}/nope"):
        connect(environ={"KUBECONFIG": f"{tmp_path}/nope"})


def test_a_plugin_gives_the_token(fake: FakeKubernetes, tmp_path: Path) -> None:
    api = Api.connect(kubeconfig=fake.kubeconfig(tmp_path, plugin(tmp_path, credential("from-plugin"))))
    api.version()
    assert fake.requests[0].headers["authorization"] == "Bearer from-plugin"


def test_a_missing_plugin_says_how_to_install_it(fake: FakeKubernetes, tmp_path: Path) -> None:
    user = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/nowhere/gke-gcloud-auth-plugin"}
    }
    with pytest.raises(Unreachable, match=r"is not installed.*gcloud components install gke-gcloud-auth-plugin"):
        connect(kubeconfig=fake.kubeconfig(tmp_path, user))
    user["exec"] |= {"command": "/nowhere/other", "installHint": "see https://example.com"}
    with pytest.raises(Unreachable, match=r"Install it: see https://example.com"):
        connect(kubeconfig=fake.kubeconfig(tmp_path, user))


def test_a_failing_plugin_is_no_request_without_credentials(fake: FakeKubernetes, tmp_path: Path) -> None:
    user = plugin(tmp_path, "import sys; sys.exit('you are not logged in')", "gke-gcloud-auth-plugin")
    with pytest.raises(Unreachable, match=r"you are not logged in.*gcloud auth login"):
        connect(kubeconfig=fake.kubeconfig(tmp_path, user))
    with pytest.raises(Unreachable, match="failed to decode"):
        connect(kubeconfig=fake.kubeconfig(tmp_path, plugin(tmp_path, "print('token')")))
    assert fake.requests == []


def test_an_expired_token_is_replaced_before_it_is_used(fake: FakeKubernetes, tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x')\n" + credential("short", "2020-01-01T00:00:00Z")
    api = Api.connect(kubeconfig=fake.kubeconfig(tmp_path, plugin(tmp_path, code)))
    api.version()
    assert count.read_text() == "xx"


def test_a_refused_token_is_asked_for_anew_once(fake: FakeKubernetes, tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x')\nn = len(open({str(count)!r}).read())\n"
    api = Api.connect(
        kubeconfig=fake.kubeconfig(
            tmp_path, plugin(tmp_path, code + credential("token-N").replace("token-N", "' + str(n) + '"))
        )
    )
    refused = status(401, "Unauthorized", "Unauthorized")
    fake.answer = lambda request: VERSION if request.headers["authorization"] == "Bearer 2" else refused
    assert api.version() == "v1.36.3"
    assert [one.headers["authorization"] for one in fake.requests] == ["Bearer 1", "Bearer 2"]
    fake.answer = lambda _: refused
    with pytest.raises(Unauthorized):
        api.version()
    assert len(fake.requests) == 4


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[tuple[FakeKubernetes, dict[str, str], Path]]:
    """A server over TLS, and what a pod in its cluster finds: environment and service account."""
    account = tmp_path / "account"
    account.mkdir()
    made = certificate(account)
    with fake_kubernetes(made) as server:
        server.answer = lambda _: VERSION
        (account / "ca.crt").write_bytes(made[0].read_bytes())
        (account / "token").write_text("first\n")
        (account / "namespace").write_text("prod")
        port = server.url.rpartition(":")[2]
        yield (
            server,
            {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port, "HOME": "/nowhere"},
            account,
        )


def test_in_a_pod_its_token_is_sent_and_rotates(pod: tuple[FakeKubernetes, dict[str, str], Path]) -> None:
    """kubernetes 36.0.0 sent none: https://github.com/kubernetes-client/python/issues/2582."""
    server, environ, account = pod
    api = Api(connect(environ=environ, service_account=str(account)))
    assert (api.context, api.namespace) == ("in-cluster", "prod")
    assert api.version() == "v1.36.3"
    assert server.requests[-1].headers["authorization"].lower() == "bearer first"
    (account / "token").write_text("second")
    server.answer = lambda request: (
        VERSION if request.headers["authorization"].lower() == "bearer second" else status(401, "Unauthorized", "no")
    )
    assert api.version() == "v1.36.3"
    (account / "token").write_text("")  # while it is written anew
    server.answer = lambda _: status(401, "Unauthorized", "no")
    with pytest.raises(Unreachable, match="The credentials of the context in-cluster cannot be read: Token file"):
        api.version()


def test_a_pod_without_service_account(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1", "HOME": "/nowhere"}
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        connect(environ=environ, service_account=str(tmp_path))


def test_another_authority_is_not_trusted(pod: tuple[FakeKubernetes, dict[str, str], Path], tmp_path: Path) -> None:
    _, environ, account = pod
    (tmp_path / "other").mkdir()
    (account / "ca.crt").write_bytes(certificate(tmp_path / "other")[0].read_bytes())
    slept: list[float] = []
    with pytest.raises(Unreachable, match="its certificate is not trusted"):
        Api(connect(environ=environ, service_account=str(account)), sleep=slept.append).version()
    assert slept == []
