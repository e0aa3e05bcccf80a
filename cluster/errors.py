"""What can go wrong, in one tree. Pure: knows no Google library; edges translate into it, ``cli`` prints it.

ClusterError                        exit 1; the message says what happened and what to do next
├── ConfigError                     the `cluster` section, a schedule or an option is wrong
├── Refused                         the plan has an item that cannot be carried out as asked
├── NoCredentials                   no Google credentials on this machine, or they have expired
├── Denied                          403: the credentials may not do this
├── ApiDisabled                     403: an API of the project is not enabled (yet)
├── NoBilling                       the project has no billing account
├── NotFound                        404
├── Conflict                        409, or 412: exists already, or changed since it was read
├── Busy                            the cluster runs another operation; waiting helps
├── NotYet                          400 about a thing that was made a moment ago; waiting helps
├── QuotaExceeded                   the project may not have that much of it
├── StockOut                        Google has none left in that zone just now
├── Unavailable                     429 or 5xx, and retrying did not help
├── OperationFailed                 a long-running operation ended with an error
├── InvalidRequest                  400: Google refuses what was sent
└── KubernetesFailed                the cluster's API server refused or could not be reached
"""

from __future__ import annotations


class ClusterError(Exception):
    """Base of everything this package raises on purpose. ``str(error)`` is fit to be shown to a user."""


class ConfigError(ClusterError):
    """The service file's ``cluster`` section, a schedule or an option is wrong."""


class Refused(ClusterError):
    """Something in the plan cannot be carried out as asked; nothing was changed."""


class NoCredentials(ClusterError):
    """There are no usable Google credentials."""


class Denied(ClusterError):
    """Google says the credentials lack a permission."""


class ApiDisabled(Denied):
    """An API is not enabled in the project, or was enabled so lately that Google has not noticed everywhere."""


class NoBilling(ClusterError):
    """The project has no billing account."""


class NotFound(ClusterError):
    """There is no such thing, or it may not be seen."""


class Conflict(ClusterError):
    """It exists already, or changed between reading and writing."""


class Busy(ClusterError):
    """The cluster carries out another operation first."""


class NotYet(ClusterError):
    """Something that was just made is not known everywhere yet (Google's IAM takes seconds)."""


class QuotaExceeded(ClusterError):
    """The project's quota does not allow it."""


class StockOut(ClusterError):
    """The zone has no such machine left at the moment."""


class Unavailable(ClusterError):
    """Google kept answering 429 or 5xx."""


class OperationFailed(ClusterError):
    """A long-running operation ended with an error."""


class InvalidRequest(ClusterError):
    """Google refuses the request as malformed or unsupported."""


class KubernetesFailed(ClusterError):
    """The cluster's API server refused, or could not be reached."""
