"""Texts: the model's weights and the release's configuration."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import DEPLOY, TOKEN
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "service-file-invalid",
        Ranks.MODEL,
        "The service file in the release does not work: {what}",
        "Each replica reads it from the release's ConfigMap at its start and stops at the first mistake.",
        (
            (
                "Correct it and check it here first",
                "switchyard config show -f {file}",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "model-gated",
        Ranks.MODEL,
        "{model} is gated and the service has no token that may read it",
        "Hugging Face gives the weights only to accounts that accepted the licence; replicas use the token in "
        "the Secret hf-secret, key hf_api_token.",
        (
            (
                "Accept the licence with the account that the token belongs to",
                "open https://huggingface.co/{model}",
            ),
            TOKEN,
        ),
    ),
    Cause(
        "model-not-found",
        Ranks.MODEL,
        "Hugging Face has no model '{model}', or the service may not see it",
        "A private model looks like a missing one to a token that may not read it.",
        (
            (
                "Check model.id in the service file",
                "open https://huggingface.co/{model}",
            ),
            TOKEN,
            DEPLOY,
        ),
    ),
    Cause(
        "revision-not-found",
        Ranks.MODEL,
        "{model} has no revision {revision}",
        "The commit or branch was deleted, or belongs to another model.",
        (
            (
                "Set model.revision to a commit that is there",
                "open https://huggingface.co/{model}/commits/main",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "hub-unreachable",
        Ranks.MODEL,
        "The pods cannot reach Hugging Face",
        "The weights are not on the node and the download failed: no way out to the internet, or a NetworkPolicy.",
        (
            (
                "Try it from the pod",
                "{kubectl} exec {pod} -c {container} -- python -c "
                "'import urllib.request as u; print(u.urlopen(\"https://huggingface.co\").status)'",
            ),
            (
                "Private nodes need Cloud NAT",
                "gcloud compute routers list --project {project} --filter=region:{region}",
            ),
            (
                "Or put the weights into a bucket: model.id: gs://BUCKET/PATH",
                "",
            ),
        ),
    ),
    Cause(
        "bucket-forbidden",
        Ranks.MODEL,
        "The service may not read the weights in {bucket}",
        "The pods' Google identity lacks storage.objects.get and list on the bucket (or the bucket does not exist).",
        (
            (
                "See which identity the pods have",
                "{kubectl} get pod {pod} -o jsonpath='{{.spec.serviceAccountName}}'",
            ),
            (
                "Let it read the bucket",
                "gcloud storage buckets add-iam-policy-binding {bucket} --role roles/storage.objectViewer "
                "--member "
                "principal://iam.googleapis.com/projects/PROJECT_NUMBER/locations/global/workloadIdentityPools/{p"
                "roject}.svc.id.goog/subject/ns/{namespace}/sa/{service_account}",
            ),
        ),
    ),
    Cause(
        "bucket-missing",
        Ranks.MODEL,
        "There are no weights at {bucket}",
        "The bucket or the folder in it does not exist, or has no *.safetensors file.",
        (
            (
                "Look what is there",
                "gcloud storage ls {bucket}",
            ),
            (
                "Correct model.id, or upload the model",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "weights-missing",
        Ranks.MODEL,
        "The model's folder has no usable weights: {what}",
        "vLLM needs config.json and *.safetensors files.",
        (
            (
                "Look into the folder in the pod",
                "{kubectl} exec {pod} -c {container} -- ls -l {folder}",
            ),
            (
                "Check model.id and the volume it lies on",
                "",
            ),
        ),
    ),
    Cause(
        "import-failed",
        Ranks.MODEL,
        "The image lacks what the application imports: {what}",
        "Serve imports the application in the head pod and in each replica; the image is not the one it was built for.",
        (
            (
                "See which image runs",
                "{kubectl} get pod {pod} -o jsonpath='{{.spec.containers[0].image}}'",
            ),
            (
                "Build the image from this version of the project, and deploy it",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
)
