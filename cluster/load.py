"""Finds and reads what a command works with: the service file's cluster section, the price list, the environment."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import service_file
from cluster import prices
from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.prices import Prices

FILE_VARIABLE = "SWITCHYARD_CONFIG"
DEFAULT_FILE = "deploy/gke-l4.yaml"
TOKEN_VARIABLE = "HF_TOKEN"
PLACEHOLDER = "my-project"


@dataclass(frozen=True)
class Loaded:
    """A service file, as far as its cluster is concerned.

    Attributes:
        service: name of the service, and of its RayService.
        token: the Hugging Face token; empty where there is none.
        given: the file as it was named on the command line; None where it was not.
    """

    config: ClusterConfig
    source: str
    service: str
    token: str
    given: str | None = None


def load(file: str | None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read a service file's cluster section, overrides applied.

    Raises:
        ConfigError: one line a finding.
    """
    path = Path(file or environ.get(FILE_VARIABLE) or DEFAULT_FILE)
    try:
        read = service_file.parse(service_file.read(path), str(path))
        read = service_file.override(read, service_file.overrides_in(environ))
        if not read.data.get("cluster"):
            raise ConfigError(
                f"{path} has no section cluster; it needs at least project and region (see deploy/gke-l4.yaml)."
            )
        config = read.section("cluster", ClusterConfig)
    except service_file.ServiceFileError as error:
        raise ConfigError(str(error)) from None
    service, token = str(read.data.get("name") or "llm"), environ.get(TOKEN_VARIABLE, "").strip()
    if any(not "!" <= letter <= "~" for letter in token):
        raise ConfigError(
            f"{TOKEN_VARIABLE} has a space, a line break or a letter that no token has; set it to the token alone."
        )
    return Loaded(config, str(path), service, token, file)


def price_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where ``prices refresh`` writes."""
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "switchyard" / "prices.json"


def load_prices(environ: Mapping[str, str] = os.environ) -> Prices:
    """The refreshed price list, else the shipped estimates; a damaged list is left out, and its label says so."""
    try:
        return _refreshed(environ) or _shipped()
    except ConfigError as error:
        return replace(_shipped(), trouble=str(error))


def _shipped() -> Prices:
    return prices.parse(prices.SHIPPED.read_text(encoding="utf-8"))


def _refreshed(environ: Mapping[str, str]) -> Prices | None:
    """The user's list; None where there is none.

    Raises:
        ConfigError: it is damaged.
    """
    path = price_file(environ)
    if not path.is_file():
        return None
    try:
        # A file that an older release wrote lacks the components that came since.
        return replace(prices.parse(path.read_text(encoding="utf-8")), base=_shipped().base)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the price list {path} is damaged ({type(error).__name__}: {error}). Delete it; "
            "`switchyard cluster prices refresh` makes another"
        ) from None


def write_prices(
    region: str, rates: Mapping[str, float], today: datetime.date, environ: Mapping[str, str] = os.environ
) -> tuple[Path, list[str]]:
    """Put a region's catalogue prices into the user's price list.

    Returns:
        The file, and the components that the catalogue did not have: they stay estimates.

    Raises:
        ConfigError: nothing was found, so that nothing is written; or the list there is damaged or cannot be written.
    """
    if not rates:
        raise ConfigError(f"The Billing Catalog has no prices for {region} that are known here; nothing was written.")
    path = price_file(environ)
    data = json.loads(prices.SHIPPED.read_text(encoding="utf-8"))
    if path.is_file():
        _refreshed(environ)  # raises where it is damaged
        mine = json.loads(path.read_text(encoding="utf-8"))
        data |= {"regions": mine["regions"], "absent": mine.get("absent", {})}
    # Rates that somebody wrote here by hand, because the catalogue has none, stay.
    known = {**data["regions"].get(region, {}), **rates}
    missing = sorted(set(data["components"]) - set(known))
    data["regions"][region] = dict(sorted(known.items()))
    data["absent"] = {**data.get("absent", {}), region: missing}
    data |= {"date": today.isoformat(), "source": "Cloud Billing Catalog API, list prices"}
    if missing:
        data["source"] += f"; in {region} estimates where it had none ({len(missing)} components)"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); set $XDG_DATA_HOME to another folder."
        ) from error
    return path, missing
