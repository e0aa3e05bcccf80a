"""Asks both releases, and judges what came back: the verdict on which a release is promoted."""
