"""ray.serve.llm's own OpenAI application, started as its documentation does. Edge: Ray.

``python -m bench.peers.ray_llm SETTINGS``; its mode is in the environment. Ends with SIGINT or SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any


def main(settings: dict[str, Any]) -> None:
    """Serve until told to end."""
    import ray
    from ray import serve
    from ray.serve.llm import LLMConfig, build_openai_app

    given: dict[str, Any] = {
        "model_loading_config": {"model_id": settings["name"], "model_source": settings["model"]},
        "engine_kwargs": settings["engine"],
        "deployment_config": {"num_replicas": 1},
    }
    if not settings["gpu"]:
        given["accelerator_config"] = {"kind": "cpu"}
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=settings["cpus"])
    # Ray puts a handler of its own there that ends the process at once, and leaves others behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": settings["port"]})
        serve.run(build_openai_app({"llm_configs": [LLMConfig(**given)]}), name=settings["app"], route_prefix="/")
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
