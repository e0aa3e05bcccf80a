"""What can go wrong, in one tree. A server's fault is no exception: it is in the record of its request.

BenchError                exit 1; the message says what happened and what to do next
├── WorkloadError         a workload's options, or a line of a trace, are wrong
├── TargetError           an address or a label is wrong, or nothing answers there in a known protocol
├── ResultError           a result file is missing or is none
├── PriceError            a price file is broken, or has no price for what was asked
└── ToolMissing           an optional package (matplotlib) is not installed
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of everything this package raises on purpose. ``str(error)`` is fit to be shown to a user."""


class WorkloadError(BenchError):
    """A workload cannot be made as asked for."""


class TargetError(BenchError):
    """What is to be measured is named wrongly, or does not answer as a service does."""


class ResultError(BenchError):
    """A result file is missing, unreadable, or something else."""


class PriceError(BenchError):
    """A price file is broken, or does not have what was asked for."""


class ToolMissing(BenchError):
    """A package that only some commands need is not installed."""
