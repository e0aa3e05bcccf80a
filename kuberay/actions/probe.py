"""A pod that tries a service's image, account and model before a cluster of GPUs is asked for. Pure.

It is the first worker group's pod without its GPUs, and with another command: ``python -m models.readable``. What it
cannot find out: whether the GPUs can be had, and whether vLLM takes the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from kuberay.config import Service
from kuberay.doctor.causes.pods import pull_cause
from kuberay.look.objects import items, mapping, number, text
from kuberay.look.redact import shown
from kuberay.manifests.pods import labels
from kuberay.manifests.rayservice import Json
from kuberay.plan.room import Problem
from kuberay.snapshot import Object, condition_of, dig

COMMAND = ("python", "-m", "models.readable")
CONTAINER = "probe"
LEFTOVER_S = 60
"""How much longer than it is waited for the pod may last: whoever waits may be killed, and cannot delete it."""

_WAITS_FOR_GOOD = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_REFUSED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Outcome:
    """How a probe ended.

    Attributes:
        said: one sentence: what works, or why not.
        problem: what is in the way; None where all is well.
    """

    said: str
    problem: Problem | None = None


def probe_name(service: Service) -> str:
    """The pod's name: one probe of a service at a time."""
    return f"{service.name}-probe"


def probe_pod(service: Service, rayservice: Json, within: float) -> Json:
    """The pod, made of the first worker group's template.

    Args:
        rayservice: the service's RayService, as it would be applied.
        within: seconds it is waited for.
    """
    template: Json = rayservice["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    worker: Json = template["containers"][0]
    model = service.config.model
    container: Json = {key: worker[key] for key in ("image", "imagePullPolicy", "env", "securityContext")}
    container |= {
        "name": CONTAINER,
        "command": [*COMMAND, model.id, *(("--revision", model.revision) if model.revision else ())],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    kept = ("serviceAccountName", "automountServiceAccountToken", "securityContext", "imagePullSecrets")
    spec: Json = {key: template[key] for key in (*kept, "nodeSelector", "tolerations") if key in template}
    if model.id.startswith(("/", ".", "~")):  # else a claim that one node holds would keep the probe from starting
        container["volumeMounts"] = [one for one in worker["volumeMounts"] if one["name"] == "models"]
        spec["volumes"] = [one for one in template["volumes"] if one["name"] == "models"]
    spec |= {
        "containers": [container],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "activeDeadlineSeconds": int(within) + LEFTOVER_S,
    }
    about = {
        "name": probe_name(service),
        "namespace": service.kubernetes.namespace,
        "labels": labels(service) | {"switchyard.dev/role": "probe"},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def outcome(pod: Object) -> Outcome | None:
    """How the probe ended; None while it has not.

    One failed pull is not the end of it: the kubelet tries again, and only then backs off.
    """
    container = next(iter(items(pod, "status", "containerStatuses")), {})
    image = text(dig(pod, "spec", "containers", 0), "image")
    ended = mapping(container, "state", "terminated")
    waiting = mapping(container, "state", "waiting")
    reason, message = text(waiting, "reason"), text(waiting, "message")
    phase = text(pod, "status", "phase")
    if phase == "Succeeded":
        return Outcome(f"the image starts, and {shown(text(ended, 'message'))}")
    if phase == "Failed":
        told = text(ended, "message").strip() or text(pod, "status", "message") or text(ended, "reason")
        # Of a traceback, which is there where the program itself broke, the end says what happened.
        why = (told or "no reason given").splitlines()[-1]
        what = f"The probe's pod ran {image} and could not read the model: {shown(why, 500)}"
        code = number(ended, "exitCode")
        if code > 1:  # no answer of models.readable: killed, or an image without it
            what = f"The probe's container ended with exit code {code}: {shown(why, 500)}"
        return _refusal(what, "Mend it; each replica would fail in the same way. deploy --probe tries again.")
    if reason in _WAITS_FOR_GOOD:
        cause = pull_cause(f"{reason}\n{message}")
        return _refusal(f"The image {image} cannot be pulled ({cause}): {shown(message or reason, 500)}", _PULL[cause])
    if reason in _REFUSED:
        return _refusal(f"The probe's container was not made: {shown(message or reason, 500)}", "Mend what it names.")
    return None


def undecided(pod: Object, within: float) -> Outcome:
    """The time is over, and the probe has not ended."""
    unplaced = condition_of(pod, "PodScheduled")
    if unplaced.get("status") == "False":
        why = f"its pod has no node yet: {shown(text(unplaced, 'message'))}"
    else:
        state = mapping(next(iter(items(pod, "status", "containerStatuses")), {}), "state", "waiting")
        why = shown(f"{text(state, 'reason') or text(pod, 'status', 'phase')} {text(state, 'message')}".strip())
    what = f"The probe did not end within {within:g} s, so nothing is known of the image and the model; {why}"
    return Outcome(what, Problem(False, what, "Give it longer (--probe-timeout), or deploy and watch."))


_UNKNOWN = "See the registry's own answer above."
_PULL = {
    "image-not-found": "Push it, or correct kubernetes.image.",
    "image-unauthorized": "Let the nodes read the registry (switchyard cluster apply does), or name a pull secret in "
    "kubernetes.image_pull_secrets.",
    "image-registry-unreachable": "Correct kubernetes.image, or see why the nodes do not reach that registry.",
    "image-name-invalid": "Correct kubernetes.image.",
    "image-not-preloaded": "Load the image onto the nodes.",
    "image-wrong-architecture": "Build the image for the nodes' architecture.",
    "image-pull-failing": _UNKNOWN,
}


def _refusal(what: str, next_step: str) -> Outcome:
    return Outcome(what, Problem(True, what, next_step))
