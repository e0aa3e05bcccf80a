"""Reaches the clusters of a rollout, has their releases examined and their traffic watched. Edge."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import Request, urlopen

from kuberay.api.client import Api
from kuberay.api.kinds import CONFIGMAP, POD
from kuberay.errors import NotFound
from kuberay.names import CLUSTER_LABEL, SERVE_LABEL, SERVE_PORT, release_name
from kuberay.release import CONFIG_KEY, parse
from kuberay.rollout import slo
from kuberay.rollout.record import Kind, Record, Verb
from kuberay.rollout.sampling import sample
from kuberay.rollout.slo import Sample
from kuberay.rollout.validation import checks, validate, verdict
from kuberay.rollout.validation.checks import Place
from kuberay.rollout_config import Rollout
from kuberay.snapshot import Object, dig, gets_traffic

GONE_S = 10.0
MOST_SAMPLES = 20_000
MOST_BEFORE = 200
"""They are kept with the revision, in a ConfigMap: a kilobyte each."""


class Examiner:
    """Examines releases through port-forwards to their pods.

    Args:
        say: told what is being done.
        before: what blue had counted, where another process began this rollout.
        gone_s: how long all endpoints of a cluster may be not ready.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        service: str,
        settings: Rollout,
        say: Callable[[str, str], None],
        before: Sequence[Sample] = (),
        *,
        gone_s: float = GONE_S,
    ) -> None:
        self._api, self._namespace, self._service = api, namespace, service
        self._settings, self._say, self._gone_s = settings, say, gone_s
        self.before = list(before)
        self._after: list[Sample] = []
        self._unanswered, self._despite = False, ""
        self._key = os.environ.get("SWITCHYARD_API_KEY")

    def lacks_key(self, record: Record, objects: Sequence[Object]) -> bool:
        """Whether answers are still to be asked for, of a release that wants a key, and there is none at hand.

        Args:
            objects: of green, which are not applied yet when this is first asked.
        """
        wish, golden = record.wish, self._settings.watch.golden and self._settings.checks.golden.prompts
        examined = record.kind is Kind.ROLLOUT and record.blue.cluster and not record.back
        asks = examined and wish.verb is not Verb.ABORT and (golden or not (record.verdict or wish.override))
        name = release_name(self._service, record.green.release)
        found = next((one for one in objects if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", name)), {})
        return bool(asks and not self._key and _wants_key(parse(dig(found, "data", CONFIG_KEY, default=""))))

    def examine(self, record: Record, green: str, blue: str, stop: Callable[[], bool]) -> tuple[bool, str] | None:
        """Whether the release may serve, and the verdict as JSON; None where ``stop`` became true before that."""
        self.look_before(blue)  # from here on our own requests are among those that blue counts
        last = [0.0, False]

        def stopped() -> bool:
            if not last[1] and time.monotonic() - last[0] > 2:
                last[0], last[1] = time.monotonic(), stop()
            return bool(last[1])

        with ExitStack() as stack:
            new = self._place(stack, "green", green, record.green.release)
            # An old cluster that has lost all its endpoints can be asked nothing.
            old = self._place(stack, "blue", blue, record.blue.release) if self._ready(blue) else None
            evidence = checks.gather(
                self._settings,
                new,
                old,
                stop=stopped,
                report=lambda text: self._say("validate", text),
            )
            if stopped():
                return None
            kind = validate.release_kind(self._config(record.blue.release), self._config(record.green.release))
            evidence = replace(evidence, ready=self._counted(green, blue))
            found = validate.judge(
                evidence, self._settings, kind=kind, at=self._api.clock.now().isoformat(timespec="seconds")
            )
            for line in verdict.lines(found):
                self._say("verdict", line)
            warmed = checks.warm(self._settings, new, stop=stopped)
            self._say("warm", warmed.text)
        return found.passed, json.dumps(found.to_json())

    def look_before(self, blue: str) -> None:
        """Count once what blue has served so far: what the watch after the switch compares with."""
        self.before = [*self.before, *self._sampled(self._ready(blue))][-MOST_BEFORE:]

    def watch(self, record: Record, cluster: str, left_s: float) -> str:
        """Look at the traffic once, and wait until the next look; what is wrong, empty while nothing is."""
        limits = self._settings.watch
        if record.incremental and not self.before:  # blue serves still, so that another process can ask it as well
            self.look_before(record.blue.cluster)
        if record.wish.despite != self._despite:  # what was overlooked is not held against it again
            self._despite, self._after = record.wish.despite, []
        ready = self._awaited(cluster)
        if not ready:  # and so no counters to judge by
            return f"no endpoint of {cluster} is ready"
        self._after = (self._after + self._sampled(ready))[-MOST_SAMPLES:]
        failures: list[str] = []
        prompts = self._settings.checks.golden.prompts
        if limits.golden and prompts:
            with ExitStack() as stack:
                place = self._place(stack, "green", cluster, record.green.release)
                failures, unanswered = checks.golden_failures(prompts, place)
            # Once may be the connection to the pod, or the pod on its way out.
            failures += unanswered if self._unanswered else []
            self._unanswered = bool(unanswered)
        health = slo.judge(self.before, self._after, limits, failures)
        self._say("watch", f"{left_s:.0f} s left; {health.text}")
        if not health.ok:
            return health.text
        time.sleep(min(limits.interval_s, max(left_s, 0)))
        return ""

    def _awaited(self, cluster: str) -> list[Object]:
        """Its endpoints; none only after there have been none for a while."""
        until = time.monotonic() + self._gone_s
        while not (ready := self._ready(cluster)) and time.monotonic() <= until:
            time.sleep(1)
        return ready

    def _sampled(self, pods: Sequence[Object]) -> list[Sample]:
        return sample(self._api, self._namespace, [pod["metadata"]["name"] for pod in pods], at=self._api.clock.time())

    def _counted(self, green: str, blue: str) -> tuple[int, int]:
        """Ready endpoints of both. Each of green's has a probe of its own, so that the last ones may come later."""
        beside, until = len(self._ready(blue)), time.monotonic() + self._gone_s
        while (count := len(self._ready(green))) < beside and time.monotonic() <= until:
            time.sleep(1)
        return count, beside

    def _ready(self, cluster: str) -> list[Object]:
        """The pods that get its traffic: workers, or its head where it has been scaled to none. None of no cluster."""
        if not cluster:
            return []
        pods = self._api.list(POD, self._namespace, selector=f"{CLUSTER_LABEL}={cluster},{SERVE_LABEL}=true")
        return [pod for pod in pods if gets_traffic(pod)]

    def _place(self, stack: ExitStack, label: str, cluster: str, release: str) -> Place:
        ready = self._ready(cluster)
        if not ready:
            raise NotFound(f"No endpoint of RayCluster {cluster} is ready.")
        url = stack.enter_context(self._api.forward(ready[0]["metadata"]["name"], SERVE_PORT, self._namespace)).url
        config = self._config(release)
        key = self._key if _wants_key(config) else None
        embeds = dig(config, "engine", "options", "runner") == "pooling"
        return Place(url, label, release, self._model(url, key), key, embeds)

    def _model(self, url: str, key: str | None) -> str:
        """The served name, as the release itself tells; empty where it does not answer."""
        request = Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urlopen(request, timeout=30) as answer:
                return str(dig(json.load(answer), "data", 0, "id", default=""))
        except (URLError, OSError, ValueError, HTTPException):
            return ""

    def _config(self, release: str) -> Mapping[str, object]:
        """The release's part of the service file; empty where its ConfigMap is gone."""
        if not release:
            return {}
        try:
            found = self._api.get(CONFIGMAP, release_name(self._service, release), self._namespace)
        except NotFound:
            return {}
        return parse(dig(found, "data", CONFIG_KEY))


def _wants_key(config: Mapping[str, object]) -> bool:
    return bool(dig(config, "serving", "api_keys_file"))
