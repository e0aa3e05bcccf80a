"""Texts: the vLLM engine and its options."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import DEPLOY, LOG
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "kv-cache-none",
        Ranks.ENGINE,
        "The GPU has no memory left for the KV cache once {model} is loaded",
        "Weights and activations fill what engine.gpu_memory_utilization allows, so vLLM cannot hold a single token.",
        (
            (
                "Raise engine.gpu_memory_utilization, lower engine.max_num_seqs, or set a quantized model.id",
                "",
            ),
            (
                "Or use a larger GPU, or engine.tensor_parallel_size: 2",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "context-too-long-for-memory",
        Ranks.ENGINE,
        "One request of model.max_model_len {max_len} does not fit the KV cache on this GPU",
        "vLLM must be able to hold one request of full length; it needs {needed} GiB and has {available} GiB.",
        (
            (
                "Set model.max_model_len to at most {fits}, or raise engine.gpu_memory_utilization",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "gpu-memory-taken",
        Ranks.ENGINE,
        "Another process holds the GPU's memory: {free} of {total} GiB are free",
        "vLLM reserves engine.gpu_memory_utilization of the whole GPU at its start and found less than that free.",
        (
            (
                "See who is on the GPU (a replica that is still stopping, or a GPU shared by time)",
                "{kubectl} exec {pod} -c {container} -- nvidia-smi",
            ),
            (
                "If nothing should be there, delete the pod so that it gets a clean GPU",
                "{kubectl} delete pod {pod}",
            ),
        ),
    ),
    Cause(
        "gpu-out-of-memory",
        Ranks.ENGINE,
        "{model} does not fit the GPU's memory",
        "CUDA ran out of memory while the weights were loaded or the engine warmed up.",
        (
            (
                "Lower engine.gpu_memory_utilization or engine.max_num_seqs, or set a quantized model.id",
                "",
            ),
            (
                "Or use a larger GPU (engine.accelerator), or engine.tensor_parallel_size: 2",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "dtype-unsupported",
        Ranks.ENGINE,
        "bfloat16 does not work on this GPU ({gpu}, compute capability {capability})",
        "Tensor cores have bfloat16 from compute capability 8.0 on (A100, L4, H100); a T4 or V100 has not.",
        (
            (
                "Set model.dtype: float16 in the service file, or engine.accelerator: L4",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "dtype-wrong-for-quantization",
        Ranks.ENGINE,
        "model.dtype {dtype} does not go with the quantization method {method}",
        "The method's kernels take other activation types: {supported}.",
        (
            (
                "Set model.dtype to one of {supported}, or leave it out",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "quantization-unknown",
        Ranks.ENGINE,
        "vLLM does not know the quantization method '{method}'",
        "engine.options.quantization (or the model's config.json) names a method that this vLLM has no kernels for.",
        (
            (
                "Correct engine.options.quantization, or leave it out: vLLM reads it from the model",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "quantization-mismatch",
        Ranks.ENGINE,
        "The model is quantized with '{method}', the service file says '{asked}'",
        "vLLM refuses to load weights of one method with the kernels of another.",
        (
            (
                "Leave engine.options.quantization out: vLLM reads it from the model",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "quantization-unsupported-gpu",
        Ranks.ENGINE,
        "The quantization method '{method}' does not work on this GPU (compute capability {capability})",
        "Its kernels need compute capability {needed} or more.",
        (
            (
                "Use a newer GPU (engine.accelerator), or a model quantized with another method",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "context-too-long-for-model",
        Ranks.ENGINE,
        "model.max_model_len {max_len} is more than {model} was made for ({limit})",
        "Positions beyond what the model was trained on give nonsense, so vLLM refuses.",
        (
            (
                "Set model.max_model_len to {limit} or less",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "architecture-unsupported",
        Ranks.ENGINE,
        "vLLM cannot run this kind of model ({architecture})",
        "The architecture in the model's config.json is not among those vLLM and its transformers know.",
        (
            (
                "Choose another model.id, or an image with a newer vLLM",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "trust-remote-code",
        Ranks.ENGINE,
        "{model} brings its own Python code, which is not run without leave",
        "Its configuration needs code out of the model's repository; running it means trusting its authors.",
        (
            (
                "Prefer a model whose architecture vLLM knows. To trust it: pin model.revision and set "
                "engine.options.trust_remote_code: true",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "heads-indivisible",
        Ranks.ENGINE,
        "{heads} attention heads cannot be split over engine.tensor_parallel_size {size}",
        "Each GPU takes the same number of heads.",
        (
            (
                "Set engine.tensor_parallel_size to a divisor of {heads}",
                "",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "gpu-not-visible",
        Ranks.ENGINE,
        "The container sees no usable GPU",
        "CUDA found no device or a driver older than the image's CUDA. The pod did get a GPU, or asked for none.",
        (
            (
                "Look at it from inside",
                "{kubectl} exec {pod} -c {container} -- nvidia-smi",
            ),
            (
                "Compare the driver with what the image's CUDA needs; a newer one comes with the node pool",
                "gcloud container node-pools list --cluster {gke_cluster} --location {location} --project {project}",
            ),
        ),
    ),
    Cause(
        "engine-option-unknown",
        Ranks.ENGINE,
        "engine.options in the service file is not accepted: {what}",
        "They are vLLM's own AsyncEngineArgs; a name or a value in them is wrong for this version.",
        (
            (
                "Correct engine.options",
                "switchyard config schema",
            ),
            DEPLOY,
        ),
    ),
    Cause(
        "engine-failed",
        Ranks.CRASH,
        "The vLLM engine stopped while it started or served",
        "Serve starts the replica again, and it will stop again until the cause is gone. The engine runs in a "
        "process of its own; what it said last is in its log.",
        (LOG,),
        symptom=True,
    ),
)
