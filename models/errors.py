"""Errors of this package. Pure."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be had; the message says which, why and what to do. ``str(error)`` is fit to be shown to a user."""
