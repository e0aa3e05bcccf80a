"""Load, comparison and reports for services that answer ``/generate`` or OpenAI's routes.

Nothing is imported here: ``bench.records``, ``bench.statistics`` and ``bench.client`` are used by other packages too.
"""
