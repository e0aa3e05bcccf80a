"""``python -m bench.peers``: see :mod:`bench.peers.cli`."""

from bench.peers.cli import app

if __name__ == "__main__":
    app(prog_name="make bench")
