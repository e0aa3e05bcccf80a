"""Commands in messages, as this user would have to type them. Pure."""

from __future__ import annotations

import re
import shlex

_COMMAND = re.compile(r"(?<![\w/])switchyard cluster (?:prices refresh|[a-z]+(?:-[a-z]+)*)")


def with_file(text: str, given: str | None) -> str:
    """The text with ``-f FILE`` in each command of ``switchyard cluster`` that it names.

    Args:
        given: what came with ``--file``; None where the default, or the environment's file, is the one that is meant.
    """
    return _COMMAND.sub(lambda found: f"{found[0]} -f {shlex.quote(given)}", text) if given else text
