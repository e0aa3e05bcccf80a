"""Errors of this package. Pure."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be had; the message, fit for a user, says which, why and what to do."""
