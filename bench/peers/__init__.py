"""`make bench`: Switchyard beside bare `vllm serve` and ray.serve.llm, each started and stopped in turn, in rounds.

The one part of ``bench`` that starts services, and so the one that may import ``serve_app``, ``models`` and Ray.
"""
