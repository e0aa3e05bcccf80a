"""Why a replica does not start: the model, its memory, its options. Texts of vLLM, Hugging Face and our own code.

Paths are those of the distributions vllm 0.32, huggingface_hub 2.4, torch 2.13, and of this repository.
"""

from __future__ import annotations

from kuberay.doctor.causes.patterns import Pattern, pattern

PATTERNS: tuple[Pattern, ...] = (
    # vllm/v1/core/kv_cache_utils.py _check_enough_kv_cache_memory
    pattern("kv-cache-none", r"No available memory for the cache blocks"),
    pattern(
        "context-too-long-for-memory",
        r"max seq len\s+\((?P<max_len>\d+)\),\s+\(?(?P<needed>[\d.]+) GiB KV\s+cache is needed, which is larger"
        r" than the available KV cache\s+memory \((?P<available>[\d.]+) GiB\)"
        r"(?:\.\s+Based on the available memory,\s+the estimated maximum model length is (?P<fits>\d+))?",
    ),
    # the same check in vLLM before 0.9
    pattern(
        "context-too-long-for-memory",
        r"max seq len\s+\((?P<max_len>\d+)\) is larger than the maximum number of tokens that can be stored in KV cache"
        r"\s+\((?P<fits>\d+)\)",
    ),
    # vllm/v1/worker/utils.py request_memory
    pattern(
        "gpu-memory-taken",
        r"Free memory on device (?:\S+ )?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired",
    ),
    # torch/csrc (c10/cuda/CUDACachingAllocator); vllm/v1/worker/gpu_model_runner.py load_model
    pattern("gpu-out-of-memory", r"CUDA out of memory|not enough GPU memory|torch\.(?:cuda\.)?OutOfMemoryError"),
    # vllm/platforms/cuda.py check_if_supports_dtype
    pattern(
        "dtype-unsupported",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\."
        r"(?: Your (?P<gpu>.+?) GPU has compute capability (?P<capability>[\d.]+\d))?",
    ),
    # vllm/config/vllm.py _get_quantization_config
    pattern(
        "dtype-wrong-for-quantization",
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\w+)\. Supported dtypes: "
        r"(?P<supported>\[[^\]]*\])",
    ),
    pattern(
        "quantization-unsupported-gpu",
        r"quantization method (?P<method>\w+) is not supported for the current GPU\. Minimum capability: "
        r"(?P<needed>\d+)\. Current capability: (?P<capability>\d+)",
    ),
    # vllm/config/model.py _verify_quantization; vllm/model_executor/layers/quantization/__init__.py
    pattern("quantization-unknown", r"(?:Unknown|Invalid) quantization method: (?P<method>[\w-]+)"),
    pattern(
        "quantization-mismatch",
        r"specified in the model config \((?P<method>[\w-]+)\) does not match the quantization method specified in the "
        r"`quantization` argument \((?P<asked>[\w-]+)\)",
    ),
    # vllm/config/model.py _get_and_verify_max_len
    pattern(
        "context-too-long-for-model",
        r"User-specified max_model_len \((?P<max_len>\d+)\) is greater than the derived max_model_len "
        r"\(\w+=(?P<limit>\d+)",
    ),
    # vllm/model_executor/models/registry.py; transformers/models/auto/configuration_auto.py
    pattern(
        "architecture-unsupported",
        r"Model architectures? (?P<architecture>\[[^\]]*\]|\w+) (?:are not supported for now|is not supported in-tree)",
    ),
    pattern(
        "architecture-unsupported",
        r"has model type `(?P<architecture>[\w-]+)` but Transformers does not recognize this architecture",
    ),
    # vllm/transformers_utils/config.py; transformers/dynamic_module_utils.py
    pattern("trust-remote-code", r"requires you to execute the configuration file|setting `trust_remote_code=True`"),
    # vllm/config/model.py verify_with_parallel_config
    pattern(
        "heads-indivisible",
        r"number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
    ),
    # torch/cuda/__init__.py _lazy_init (torch/csrc); vllm/platforms
    pattern(
        "gpu-not-visible",
        r"No CUDA GPUs are available|Found no NVIDIA driver on your system|NVIDIA driver on your system is too old"
        r"|CUDA driver version is insufficient|Failed to infer device type",
    ),
    # serve_app/vllm_args.py engine_args
    pattern("engine-option-unknown", r"engine\.options: (?P<what>[^\n]+)"),
    # serve_app/errors.py ConfigError, as Python prints it in a traceback
    pattern("service-file-invalid", r"\bConfigError: (?P<what>[^\n]+)"),
    # models/store.py _download; huggingface_hub/utils/_http.py hf_raise_for_status; transformers/utils/hub.py
    pattern("model-gated", r"(?P<model>[\w.-]{1,96}/[\w.-]{1,96}) is gated\. Accept its licence"),
    pattern(
        "model-gated",
        r"Cannot access gated repo for url https://huggingface\.co/(?:api/models/)?(?P<model>[\w.-]{1,96}/[\w.-]{1,96}\w)"
        r"|You are trying to access a gated repo",
    ),
    pattern("model-not-found", r"Hugging Face has no model '(?P<model>[^']+)'"),
    pattern(
        "model-not-found",
        r"Repository Not Found for url: https://huggingface\.co/(?:api/models/)?(?P<model>[\w.-]{1,96}/[\w.-]{1,96}\w)"
        r"|is not a local folder and is not a valid model identifier",
    ),
    pattern(
        "revision-not-found",
        r"(?P<model>[\w.-]{1,96}/[\w.-]{1,96}) has no revision (?P<revision>[\w./-]*\w)\. Check",
    ),
    pattern("revision-not-found", r"Revision Not Found for url: \S{1,300}/(?:revision|resolve)/(?P<revision>[\w.-]+)"),
    pattern(
        "hub-unreachable",
        r"is not on this machine and Hugging Face cannot be reached|We couldn't connect to 'https://huggingface\.co'"
        r"|host='huggingface\.co'[^\n]{0,300}(?:Max retries|NameResolutionError|ConnectTimeout|Failed to establish)",
    ),
    # Google Cloud Storage's own answers, through google-cloud-storage and runai-model-streamer
    pattern(
        "bucket-forbidden",
        r"does not have storage\.\w+\.\w+ access to (?:the )?(?:Google Cloud Storage (?:bucket|object)|\S+)"
        r"|Permission 'storage\.\w+\.\w+' denied|403 [^\n]{0,200}storage\.googleapis\.com",
    ),
    pattern(
        "bucket-missing",
        r"The specified bucket does not exist|404 [^\n]{0,200}storage\.googleapis\.com"
        r"|Cannot find any (?:safetensors )?model weights with `gs://[^`]*`",
    ),
    # models/store.py _check_folder; vllm/model_executor/model_loader/default_loader.py
    pattern("weights-missing", r"(?P<what>There is no folder (?P<folder>\S{1,300}?))\. Check model\.id"),
    pattern("weights-missing", r"(?P<what>(?P<folder>/\S{1,300}) has no (?:config\.json|\*\.safetensors file))"),
    pattern("weights-missing", r"(?P<what>Cannot find any model weights with `(?P<folder>/[^`]*)`)"),
    # Python's own
    pattern("import-failed", r"ModuleNotFoundError: (?P<what>No module named '[^']+')"),
    pattern("import-failed", r"\bImportError: (?P<what>[^\n]+)"),
    # vllm/v1/engine/utils.py, core.py, exceptions.py
    pattern("engine-failed", r"Engine core initialization failed|EngineDeadError|EngineCore encountered an? \w+"),
    pattern("engine-failed", r"The engine does not answer: [^\n]+"),
)
