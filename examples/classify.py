"""Classify a file of texts with a running service, from another Ray job: one Python handle, many requests in flight.

    make serve                                                  # in one terminal
    .venv/bin/python examples/classify.py examples/reviews.txt  # in another

One line of the file is one text. Prints `label<TAB>text` lines in the file's order; a line that failed says so and the
rest goes on. No HTTP is involved: the handle finds the replicas through Ray.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The driver calls the handle from plain threads, so Serve's router needs an event loop of its own. Before `import ray`.
os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"

import ray
from ray import serve
from rich.console import Console
from rich.progress import track

from serve_app.schema import GenerateRequest, GenerateResponse

LABELS = ("positive", "negative")
EXAMPLES = """Review: The film was boring and far too long.
Sentiment: negative

Review: What a friendly place, we will come again.
Sentiment: positive

Review: It broke on the first day.
Sentiment: negative

Review: I love this phone.
Sentiment: positive

"""


def ask(text: str) -> GenerateRequest:
    """The request that classifies one text: examples show even a very small model what is wanted."""
    return GenerateRequest(
        prompt=f"{EXAMPLES}Review: {text}\nSentiment:", raw=True, stop="\n", max_tokens=4, temperature=0
    )


def label(answer: GenerateResponse) -> str:
    """The label an answer names, or ``unclear``."""
    named = [word for word in LABELS if word in answer.text.lower()]
    return named[0] if len(named) == 1 else "unclear"


def classify(texts: list[str], app: str, in_flight: int) -> Iterator[str]:
    """Labels of the texts, in their order, with ``in_flight`` requests at a time."""
    handle = serve.get_app_handle(app)

    def one(text: str) -> str:
        try:
            return label(handle.generate.remote(ask(text)).result(timeout_s=300))
        except Exception as error:  # one text's failure is not the job's
            return f"failed ({type(error).__name__})"

    with ThreadPoolExecutor(in_flight) as pool:
        yield from pool.map(one, texts)


def main() -> int:
    """Read arguments, classify, print."""
    parser = argparse.ArgumentParser(description="Classify each line of a file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--app", default="llm", help="name of the Serve application (default: llm)")
    parser.add_argument("--in-flight", type=int, default=8, help="requests at a time (default: 8)")
    arguments = parser.parse_args()
    texts = [line.strip() for line in arguments.file.read_text().splitlines() if line.strip()]
    # RAY_ADDRESS says which cluster, where this machine runs several (with RAY_AUTH_MODE=token, as clusters of Ray 2.60
    # want one by default); inside a Ray job both are set already.
    ray.init(os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    answers = classify(texts, arguments.app, arguments.in_flight)
    labels = list(track(answers, "Classifying", total=len(texts), console=Console(stderr=True)))
    for name, text in zip(labels, texts, strict=True):
        print(f"{name}\t{text}")
    return int(any(name.startswith("failed") for name in labels))


if __name__ == "__main__":
    sys.exit(main())
