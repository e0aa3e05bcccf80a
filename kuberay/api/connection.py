"""Which cluster, and as whom: kubeconfig, ``$KUBECONFIG`` or the service account of the pod this runs in.

The client's own loader does the work. What it leaves out is added here: a credential plugin that fails is an error
instead of a line in the log and requests without credentials, and credentials that are refused are asked for anew.
"""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kuberay.errors import ConfigError, Unreachable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

IN_CLUSTER = "in-cluster"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
GKE_PLUGIN = "gke-gcloud-auth-plugin"
INSTALL_GKE_PLUGIN = (
    "gcloud components install gke-gcloud-auth-plugin, or where gcloud is a system package: "
    "apt-get install google-cloud-cli-gke-gcloud-auth-plugin"
)


@dataclass
class Connection:
    """A cluster, and credentials for it.

    Attributes:
        client: the official client's transport; nothing of its models is used.
        context: of the kubeconfig, or ``in-cluster``.
        address: the API server's URL.
        namespace: the context's own, ``default`` where it has none.
    """

    client: ApiClient
    context: str
    address: str
    namespace: str
    _renew: Callable[[], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def headers(self) -> dict[str, str]:
        """What proves who we are; empty with client certificates. Expired tokens are replaced on the way.

        Raises:
            Unreachable: the credential plugin gives none, or the file with the token cannot be read.
        """
        with self._lock, _told(self.context):  # many threads ask; a plugin should run once
            return self._current()

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Asks for new credentials after ``refused`` ones were answered with 401. True if there are others now."""
        if self._renew is None:
            return False
        with self._lock, _told(self.context):
            if self._current().get("authorization") == refused.get("authorization"):
                self._renew()
        return self.headers() != refused

    def _current(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self.client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return {name: value.strip() for name, value in headers.items() if value}

    @property
    def proxy(self) -> str | None:
        """The HTTP proxy on the way, where there is one."""
        from kubernetes.client.rest import should_bypass_proxies

        settings: Any = self.client.configuration
        spared = should_bypass_proxies(self.address, settings.no_proxy or "")
        return None if spared else settings.proxy or None

    @property
    def server_name(self) -> str | None:
        """To be checked against the API server's certificate, where it is not the address's."""
        return getattr(self.client.configuration, "tls_server_name", None) or None

    def tls(self) -> ssl.SSLContext | None:
        """How to speak TLS with the API server, for a client that is not the official one; None for plain HTTP."""
        settings: Any = self.client.configuration
        if not self.address.startswith("https://"):
            return None
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if not settings.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        return context


@dataclass(frozen=True)
class Entrance:
    """A way for another HTTP client to a Service, through the API server.

    Attributes:
        url: what is asked for is appended to it.
        headers: what proves who we are, fresh.
        renew: see :meth:`Connection.renew`.
        tls: None for plain HTTP.
        server_name: to be checked against the certificate, where it is not the URL's.
        proxy: the HTTP proxy on the way.
    """

    url: str
    headers: Callable[[], dict[str, str]]
    renew: Callable[[Mapping[str, str]], bool]
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = None


def connect(
    context: str | None = None,
    kubeconfig: str | None = None,
    environ: Mapping[str, str] = os.environ,
    service_account: str = SERVICE_ACCOUNT,
) -> Connection:
    """Finds the cluster as kubectl does: ``kubeconfig``, ``$KUBECONFIG``, ``~/.kube/config``, then the pod's own.

    Nothing is sent yet.

    Raises:
        ConfigError: no such file or context, or a file that is none.
        Unreachable: the credential plugin is missing or fails.
    """
    paths = kubeconfig or environ.get("KUBECONFIG") or str(Path(environ.get("HOME") or Path.home()) / ".kube/config")
    present = [path for path in paths.split(os.pathsep) if path and Path(path).expanduser().is_file()]
    if present:
        return _from_kubeconfig(os.pathsep.join(present), context)
    if "KUBERNETES_SERVICE_HOST" in environ and not kubeconfig and not context:
        return _from_pod(environ, service_account)
    raise ConfigError(
        f"No cluster is configured: there is no file {paths}. "
        "GKE: gcloud container clusters get-credentials NAME --region REGION. Elsewhere: point $KUBECONFIG at a file."
    )


def _from_kubeconfig(paths: str, context: str | None) -> Connection:
    import yaml
    from kubernetes.client import ApiClient
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger

    try:
        merged: Any = KubeConfigMerger(paths).config
        names = [item.value["name"] for item in merged.value["contexts"]]
        chosen = context or merged.value.get("current-context") or ""
    except (ConfigException, yaml.YAMLError, OSError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{paths} is not a kubeconfig file: {_line(error)}") from error
    if chosen not in names:
        asked = f"There is no context {chosen!r} in {paths}" if chosen else f"{paths} names no current context"
        raise ConfigError(f"{asked}. Choose one with --context: {', '.join(sorted(names)) or 'it has none'}.")
    settings = _settings()
    loader = _loader(merged, chosen)
    try:
        loader.load_and_set(settings)
    except ConfigException as error:
        raise ConfigError(f"The context {chosen} in {paths} cannot be used: {_line(error)}") from error
    if not str(settings.host).startswith(("http://", "https://")):
        raise ConfigError(f"The context {chosen} in {paths} has no server address that begins with https://.")

    def renew() -> None:
        loader._load_authentication()
        loader._set_config(settings)

    namespace = loader.current_context["context"].get("namespace") or "default"
    return Connection(ApiClient(settings), chosen, str(settings.host), namespace, renew)


def _from_pod(environ: Mapping[str, str], folder: str) -> Connection:
    from kubernetes.client import ApiClient
    from kubernetes.config import ConfigException
    from kubernetes.config.incluster_config import InClusterConfigLoader

    settings = _settings()
    loader = InClusterConfigLoader(
        token_filename=f"{folder}/token", cert_filename=f"{folder}/ca.crt", environ=dict(environ)
    )
    try:
        loader.load_and_set(settings)
    except (ConfigException, OSError) as error:
        raise ConfigError(
            f"This pod has no usable service account ({_line(error)}). "
            "Give it one, and leave automountServiceAccountToken on."
        ) from error

    def renew() -> None:
        loader._read_token_file()
        loader._set_config(settings)

    try:
        namespace = Path(f"{folder}/namespace").read_text().strip() or "default"
    except OSError:
        namespace = "default"
    return Connection(ApiClient(settings), IN_CLUSTER, str(settings.host), namespace, renew)


def _settings() -> Any:
    from kubernetes.client import Configuration

    settings: Any = Configuration()
    settings.retries = False  # ours are bounded, and know which requests may be sent twice
    settings.keep_alive = True  # else a load balancer drops a quiet watch without telling
    settings.connection_pool_maxsize = 16
    return settings


def _loader(merged: Any, context: str) -> Any:
    from kubernetes.config.dateutil import parse_rfc3339
    from kubernetes.config.exec_provider import ExecProvider
    from kubernetes.config.kube_config import FileOrData, KubeConfigLoader

    class Loader(KubeConfigLoader):
        """The client's, except that a failing credential plugin is an error."""

        def _load_from_exec_plugin(self) -> bool | None:
            user: Any = self._user
            if "exec" not in user:
                return None
            settings = user["exec"]
            cluster: Any = self._cluster
            folder = self._get_base_path(cluster.path)
            status = _run_plugin(settings.value, lambda: ExecProvider(settings, folder, cluster).run(), context)
            if status.get("token"):
                self.token = f"Bearer {status['token']}"
            elif status.get("clientCertificateData") and status.get("clientKeyData"):
                for name, key in (("cert_file", "clientCertificateData"), ("key_file", "clientKeyData")):
                    data = FileOrData(status, None, data_key_name=key, base64_file_content=False)
                    setattr(self, name, data.as_file())
            else:
                raise Unreachable(
                    f"The credential plugin {settings.value.get('command')} of the context {context} answered with "
                    "neither a token nor a certificate. Run it by hand to see what it says."
                )
            if "expirationTimestamp" in status:
                self.expiry = parse_rfc3339(status["expirationTimestamp"])
            return True

    nowhere: Any = None  # each path is then relative to its own file
    return Loader(config_dict=merged, active_context=context, config_base_path=nowhere)


def _run_plugin(settings: Mapping[str, Any], run: Callable[[], Any], context: str) -> Mapping[str, Any]:
    command = str(settings.get("command"))
    gke = Path(command).name == GKE_PLUGIN
    found = shutil.which(command)
    try:
        return run()
    except FileNotFoundError as error:
        if found:  # a script whose interpreter is missing
            raise Unreachable(
                f"The credential plugin {command} of the context {context} cannot run: {error}"
            ) from error
        hint = INSTALL_GKE_PLUGIN if gke else str(settings.get("installHint") or "install it").strip()
        raise Unreachable(
            f"The context {context} needs the credential plugin {command}, which is not installed. Install it: {hint}"
        ) from error
    except Exception as error:  # the client raises whatever went wrong on its way
        # With a terminal the plugin wrote there itself, and the client stumbles over the missing text.
        why = "see its message above" if isinstance(error, AttributeError) else _line(error)
        todo = " Log in: gcloud auth login" if gke else ""
        raise Unreachable(
            f"The credential plugin {command} of the context {context} gives no credentials: {why}.{todo}"
        ) from error


@contextmanager
def _told(context: str) -> Iterator[None]:
    from kubernetes.config import ConfigException

    try:
        yield
    except (ConfigException, OSError) as error:
        raise Unreachable(f"The credentials of the context {context} cannot be read: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:600] or type(error).__name__
