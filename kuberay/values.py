"""Single values of the ``kubernetes`` section: what Kubernetes takes, and a sentence for what it does not. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from serve_app.environment import RELEASE_VARIABLE


def _cpus(value: Any) -> Any:
    """``2``, ``0.5`` or ``500m``, as text."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str) and not re.fullmatch(r"[0-9]+m|[0-9]+(\.[0-9]{1,3})?", text):
        raise ValueError("must be a number of CPUs such as 2, 0.5 or 500m (thousandths)")
    return text


def _size(value: Any) -> Any:
    """``24Gi``. A number alone would be bytes, which nobody means, and ``m`` thousandths of one."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str) and not re.fullmatch(r"[0-9]+(\.[0-9]+)?(M|G|T|Mi|Gi|Ti)", text):
        raise ValueError("must be an amount with its unit (Mi, Gi, Ti, M, G or T), such as 24Gi")
    return text


Cpus = Annotated[str, BeforeValidator(_cpus, json_schema_input_type=str | int | float)]
Size = Annotated[str, BeforeValidator(_size)]
Amount = Annotated[int, Field(ge=0)]


def _name(pattern: str, most: int, rule: str) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) > most or not re.fullmatch(pattern, value):
            raise ValueError(f"must be {rule}, at most {most} characters")
        return value

    return AfterValidator(check)


_PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = _name(_PART, 63, "lower-case letters, digits and '-', with a letter or digit at both ends")
_OBJECT_NAME = _name(rf"{_PART}(\.{_PART})*", 253, "lower-case letters, digits, '-' and '.', as Kubernetes names are")
_GROUP_NAME = _name(r"[a-z]([-a-z0-9]*[a-z0-9])?", 30, "lower-case letters, digits and '-', with a letter first")
DnsLabel = Annotated[str, _DNS_LABEL]
ObjectName = Annotated[str, _OBJECT_NAME]
GroupName = Annotated[str, _GROUP_NAME]


# HOST[:PORT]/PATH[:TAG][@DIGEST], as container runtimes read it.
_IMAGE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_OURS = ("SWITCHYARD_CONFIG", RELEASE_VARIABLE)
_SECRET_NAME = re.compile(r"(^|_)(TOKEN|PASSWORD|PASSWD|SECRET|(API|ACCESS|PRIVATE)_?KEY)(_|$)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(hf_|sk-|AIza|gh[pousr]_|-----BEGIN )")


def _image(value: str) -> str:
    found = _IMAGE.fullmatch(value)
    if found is None:
        raise ValueError("must be an image reference such as HOST/PROJECT/switchyard:1.0 or ...@sha256:DIGEST")
    if found["digest"] is None and found["tag"] in (None, "latest"):
        raise ValueError("must have a tag other than latest, or a digest: what runs has to be known")
    return value


def _env(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"'{name}' is no name for a variable; use letters, digits and '_'")
        if name in _OURS:
            raise ValueError(f"{name} is set by the release itself; leave it out")
        if _SECRET_NAME.search(name) or _SECRET_VALUE.match(text):
            raise ValueError(f"{name} looks like a secret; put it into a Secret (hf_token, api_keys)")
    return value


Image = Annotated[str, AfterValidator(_image)]
Env = Annotated[dict[str, str], AfterValidator(_env)]
