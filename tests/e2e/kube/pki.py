"""The cluster's own certificate authority, and a kubeconfig for each of its clients."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.kube import layout

MASTERS = "system:masters"
API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{layout.DOMAIN}")
CLIENTS = {
    "admin": ("admin", MASTERS),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "kubelet": (f"system:node:{layout.NODE}", "system:nodes"),
    "coredns": ("coredns", None),
}
"""Common name and organization, which Kubernetes reads as user and group."""


class Authority:
    """A certificate authority that lives as long as this process; what it signed goes on to be valid."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self._certificate = (
            _builder(name, None, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, group: str | None = None, *, hosts: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """Certificate and key, as PEM: a server's if there are ``hosts``, else a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        issuer = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        builder = (
            _builder(name, group, str(issuer), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)


def make(folder: Path) -> None:
    """Write every certificate, key and kubeconfig of a new cluster to ``folder``."""
    folder.mkdir(parents=True, mode=0o700)
    authority = Authority("switchyard-local")
    (folder / "ca.crt").write_bytes(authority.pem)
    machine = (layout.NODE_ADDRESS, "127.0.0.1", layout.NODE, "localhost")
    _write(
        folder / "kube-apiserver", authority.issue("kube-apiserver", hosts=(*API_NAMES, *machine, layout.API_SERVICE))
    )
    _write(folder / "kubelet", authority.issue(f"system:node:{layout.NODE}", "system:nodes", hosts=machine))
    _write(folder / "kubelet-client", authority.issue("kube-apiserver-kubelet-client", MASTERS))
    tokens = ec.generate_private_key(ec.SECP256R1())
    (folder / "service-accounts.key").write_bytes(_pem(tokens))
    public = tokens.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-accounts.pub").write_bytes(public)
    for client, (name, group) in CLIENTS.items():
        text = _kubeconfig(authority.pem, *authority.issue(name, group))
        (folder / f"{client}.kubeconfig").write_text(text)


def _kubeconfig(ca: bytes, certificate: bytes, key: bytes) -> str:
    # JSON is YAML, too.
    cluster = {
        "server": f"https://{layout.NODE_ADDRESS}:{layout.API_PORT}",
        "certificate-authority-data": base64.b64encode(ca).decode(),
    }
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    name = "switchyard-local"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        indent=1,
    )


def _builder(name: str, group: str | None, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, pair: tuple[bytes, bytes]) -> None:
    certificate, key = pair
    path.with_suffix(".crt").write_bytes(certificate)
    path.with_suffix(".key").write_bytes(key)
