"""Deploy a service file on a running Ray cluster, ask it once over HTTP, and print what was seen as JSON.

python deploy_on_cluster.py FILE RAY_ADDRESS HTTP_PORT
"""

from __future__ import annotations

import json
import sys

import httpx2
import ray
from ray import serve
from ray._private import state

from serve_app import deployment
from serve_app.load import load


def main(file: str, address: str, port: int) -> None:
    """Deploy, ask, tell, take down."""
    config = load(file)
    ray.init(address, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"port": port})
    serve.run(deployment.bind(config), name="llm", route_prefix="/")
    request = {"prompt": "the time", "max_tokens": 12, "temperature": 0, "raw": True}
    answer = httpx2.post(f"http://localhost:{port}/generate", json=request, timeout=300)
    workers = [
        actor["Address"]["NodeID"]
        for actor in state.actors().values()
        if actor["State"] == "ALIVE" and "Worker" in actor["ActorClassName"]
    ]
    print(json.dumps({"status": answer.status_code, "answer": answer.json(), "worker_nodes": workers}))
    serve.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
