"""Texts: images that cannot be pulled or run."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import DEPLOY, DESCRIBE
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "image-not-found",
        Ranks.STARTING,
        "There is no image {image}",
        "The registry answered that the repository or the tag does not exist.",
        (
            (
                "See which tags there are",
                "gcloud artifacts docker tags list {repository}",
            ),
            (
                "Push the image, or correct its name in the service file",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "image-unauthorized",
        Ranks.STARTING,
        "The nodes may not pull {image}",
        "The registry asked for credentials, or refused the nodes' service account.",
        (
            (
                "Let the nodes' service account read the registry",
                "gcloud projects add-iam-policy-binding {project} --role roles/artifactregistry.reader --member "
                "serviceAccount:NODE_SERVICE_ACCOUNT",
            ),
            (
                "For a registry outside Google Cloud, add an image pull secret to the service account "
                "{service_account}",
                "{kubectl} get serviceaccount {service_account} -o yaml",
            ),
        ),
    ),
    Cause(
        "image-registry-unreachable",
        Ranks.STARTING,
        "Node {node} cannot reach the registry of {image}",
        "The name does not resolve or the connection fails; private nodes need Cloud NAT or Private Google Access.",
        (
            (
                "See whether other nodes can",
                "{kubectl} get events --field-selector reason=Failed",
            ),
            DESCRIBE,
        ),
    ),
    Cause(
        "image-pull-failing",
        Ranks.STARTING + 5,
        "Image {image} cannot be pulled to {node}",
        "The kubelet backs off between its tries, and its events with the registry's answer are gone.",
        (
            DESCRIBE,
            (
                "Try the same from your own machine",
                "docker manifest inspect {image}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "image-not-preloaded",
        Ranks.STARTING,
        "Image {image} is not on node {node}, and may not be pulled",
        "The pull policy is Never, so the image must have been loaded onto the node beforehand.",
        (
            (
                "Load it onto the node, or set the pull policy to IfNotPresent",
                "",
            ),
            DESCRIBE,
        ),
    ),
    Cause(
        "image-name-invalid",
        Ranks.STARTING,
        "'{image}' is not an image's name",
        "The kubelet cannot read it as registry/repository:tag.",
        (
            (
                "Correct the image in the service file",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "image-wrong-architecture",
        Ranks.STARTING,
        "Image {image} is for another processor architecture than node {node} ({arch})",
        "Its programs cannot run there: the kernel or the registry says so at the first of them.",
        (
            (
                "See for what it was built",
                "docker buildx imagetools inspect {image}",
            ),
            (
                "Build it for {arch} (or both), or choose nodes of the other kind",
                "",
            ),
        ),
    ),
)
