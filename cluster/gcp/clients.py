"""Google's client objects, made when first used. Nothing else here or elsewhere imports Google's libraries early.

Two environment variables send every call to a stand-in instead of Google, without credentials: tests and rehearsals
set them, ``python -m tests.cluster.fakes`` prints them.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.gcp.calls import Caller, translated

GRPC_VARIABLE = "SWITCHYARD_GOOGLE_GRPC"
REST_VARIABLE = "SWITCHYARD_GOOGLE_REST"


@dataclass(frozen=True)
class Endpoints:
    """Where calls go instead of to Google: ``host:port`` for gRPC, ``http://host:port`` for REST. Empty: Google."""

    grpc: str = ""
    rest: str = ""

    @property
    def stand_in(self) -> bool:
        return bool(self.grpc or self.rest)


@dataclass
class Clients:
    """One client an API, shared by all that use it.

    Attributes:
        channel: a gRPC channel to use instead of making one.
    """

    project: str
    endpoints: Endpoints = field(default_factory=Endpoints)
    call: Caller = field(default_factory=Caller)
    channel: Any = None
    _made: dict[str, Any] = field(default_factory=dict[str, Any])
    # Imports in parallel threads take longer than one after another, and each client is wanted once.
    _lock: Any = field(default_factory=threading.RLock, compare=False)

    def grpc(self, module: str, name: str) -> Any:
        """The client class ``name`` of ``module``, over gRPC."""
        key = f"{module}.{name}"  # two of Google's packages have a ProjectsClient
        with self._lock:
            if key not in self._made:
                if module in _HEAVY:
                    light_package(module)
                    module = f"{module}.services.{_HEAVY[module]}"
                made = getattr(importlib.import_module(module), name)
                if self.endpoints.grpc or self.channel is not None:
                    self._made[key] = made(transport=made.get_transport_class("grpc")(channel=self._channel()))
                else:
                    self._made[key] = made(credentials=self.credentials())
            return self._made[key]

    def compute(self, service: str, name: str) -> Any:
        """A Compute Engine client, which is REST; ``service`` is its module."""
        key = f"compute.{service}"
        with self._lock:
            if key not in self._made:
                light_package("google.cloud.compute_v1")
                made = getattr(importlib.import_module(f"google.cloud.compute_v1.services.{service}"), name)
                options = {"api_endpoint": self.endpoints.rest} if self.endpoints.rest else None
                self._made[key] = made(credentials=self.credentials(), client_options=options)
            return self._made[key]

    def storage(self) -> Any:
        """The Cloud Storage client."""
        with self._lock:
            if "storage" not in self._made:
                from google.cloud import storage

                options = {"api_endpoint": self.endpoints.rest} if self.endpoints.rest else None
                self._made["storage"] = storage.Client(
                    project=self.project, credentials=self.credentials(), client_options=options
                )
            return self._made["storage"]

    def credentials(self) -> Any:
        """Application default credentials; anonymous ones for a stand-in.

        Raises:
            NoCredentials: there are none.
        """
        with self._lock:
            if "credentials" not in self._made:
                import google.auth
                from google.auth.credentials import AnonymousCredentials

                if self.endpoints.stand_in:
                    self._made["credentials"] = AnonymousCredentials()
                else:
                    with translated("credentials"):
                        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
                        self._made["credentials"] = google.auth.default(scopes=scopes, quota_project_id=self.project)[0]
            return self._made["credentials"]

    def _channel(self) -> Any:
        if self.channel is None:
            import grpc

            self.channel = grpc.insecure_channel(self.endpoints.grpc)
        return self.channel


_HEAVY = {"google.cloud.resourcemanager_v3": "projects"}
"""Packages of which one service is needed, and importing the others is what takes long."""


def light_package(name: str) -> None:
    """Make a package of Google's importable without all of its services.

    The ``__init__`` of ``compute_v1`` imports 110 services, which takes longer than the whole plan does; the modules
    themselves need only the package's path. A program that has imported the real package keeps it.
    """
    if name in sys.modules:
        return
    last = name.rpartition(".")[2]
    import google.cloud

    for folder in google.cloud.__path__:
        if (Path(folder) / last / "__init__.py").exists():
            package = types.ModuleType(name)
            package.__path__ = [str(Path(folder) / last)]
            sys.modules[name] = package
            return
