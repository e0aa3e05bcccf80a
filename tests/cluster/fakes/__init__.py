"""A Google Cloud project in memory, spoken to over Google's own protocols: gRPC with the libraries' messages, and REST.

``FakeGoogle`` is the project, ``serving(fake)`` starts the servers; for people: ``python -m tests.cluster.fakes``.
"""

from tests.cluster.fakes.project import FakeClock, FakeGoogle, Fault, Fault429, Fault503
from tests.cluster.fakes.servers import Serving, in_process, serving

__all__ = ["FakeClock", "FakeGoogle", "Fault", "Fault429", "Fault503", "Serving", "in_process", "serving"]
