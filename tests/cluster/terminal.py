"""Runs ``switchyard cluster`` commands as a user would, against the fake servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from cluster.cli.commands import app
from tests.cluster.fakes import FakeGoogle, serving
from tests.cluster.fakes.kube import FakeKube, serving_kube

CLUSTER: dict[str, Any] = {
    "project": "my-project",
    "region": "us-central1",
    "pools": {"l4": {"machine": "g2-standard-8", "max_nodes": 4, "spot": "beside"}},
}


@dataclass(frozen=True)
class Answer:
    """What a command came to; ``text`` is all it printed, errors included."""

    code: int
    out: str
    text: str


@dataclass
class User:
    """Somebody at a terminal, with a service file and a project."""

    folder: Path
    fake: FakeGoogle
    kube: FakeKube
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, **cluster: Any) -> None:
        """The service file, with these keys in its cluster section."""
        data = {"name": "gemma", "cluster": {**CLUSTER, **cluster}}
        (self.folder / "service.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")

    def run(self, *words: str, stdin: str | None = None) -> Answer:
        done = CliRunner().invoke(app, [*words, "-f", str(self.folder / "service.yaml")], env=self.environ, input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Answer(done.exit_code, done.stdout, done.output)


@contextmanager
def sitting(folder: Path, fake: FakeGoogle) -> Iterator[User]:
    """A user in front of running servers. Operations are over as soon as they are asked for."""
    kube = FakeKube()
    with serving_kube(kube) as where, serving(fake) as servers:
        fake.kube = where
        user = User(folder, fake, kube, dict(servers.environ))
        user.write()
        yield user
