"""Ray's ``serve`` command with another default port: ``serve run`` has no option for it, and 8000 may be taken.

python serve_on.py PORT run IMPORT_PATH ...
"""

from __future__ import annotations

import sys

from ray.serve.config import HTTPOptions
from ray.serve.scripts import cli


def main(port: int, *arguments: str) -> None:
    """Be ``serve`` with these arguments."""
    HTTPOptions.model_fields["port"].default = port
    HTTPOptions.model_rebuild(force=True)
    sys.argv = ["serve", *arguments]
    cli()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
