"""Which engine answers: the one place where backends are imported."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from mllm_srec.llm.engine import Engine, ModelError
from mllm_srec.llm.engine_kinds import EngineKind
from mllm_srec.llm.model_files import model_hash, resolve_model
from mllm_srec.llm.vllm_settings import NO_VLLM, vllm_distribution

Dtype = Literal["auto", "float32", "bfloat16"]

__all__ = [
    "Dtype",
    "Loaded",
    "bundled_model",
    "check_engine",
    "engine_kind",
    "load_engine",
    "model_hash",
    "resolve_model",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine ready to answer."""

    engine: Engine
    note: str | None
    """A line for the person where `auto` fell back to a slower engine, else None."""


def bundled_model() -> Path:
    """The folder of srec-tiny, the model that ships with the package."""
    return Path(str(files("mllm_srec.llm"))) / "srec-tiny"


def engine_kind(name: str) -> EngineKind:
    """The kind of engine of a name.

    Raises:
        ModelError: There is none of that name.
    """
    kinds: tuple[EngineKind, ...] = get_args(EngineKind)
    for kind in kinds:
        if kind == name:
            return kind
    raise ModelError(f"engine {name!r} is none of {', '.join(kinds)}")


def check_engine(name: str, server_file: Path) -> None:
    """Refuse, before other work is done, an engine that `load_engine` would refuse at once.

    Raises:
        ModelError: There is none of that name, or it is not installed.
        EngineLost: It is the server, and none runs.
    """
    kind = engine_kind(name)
    if kind == "vllm-server":
        from mllm_srec.llm.server import running  # noqa: PLC0415 — needs httpx only here

        running(server_file)
    if kind == "vllm" and vllm_distribution() is None:
        raise ModelError(NO_VLLM)


def load_engine(
    kind: str,
    model: Path | str,
    *,
    server_file: Path | None = None,
    dtype: Dtype = "auto",
) -> Loaded:
    """Load an engine for a model.

    `auto` takes the running server of `server_file` when it serves this model, else vLLM in this
    process where it is installed, else transformers with a note that says so.

    Raises:
        ModelError: The kind is unknown, or its engine cannot be had here.
    """
    wanted, path = engine_kind(kind), resolve_model(model)
    if wanted == "auto":
        return _choose(path, server_file, dtype)
    return Loaded(_load(wanted, path, server_file, dtype), None)


def _choose(path: Path, server_file: Path | None, dtype: Dtype) -> Loaded:
    if server_file is not None:
        from mllm_srec.llm.server import status  # noqa: PLC0415 — needs httpx only here

        running = status(server_file)
        if running is not None and running.model_hash == model_hash(path):
            return Loaded(_load("vllm-server", path, server_file, dtype), None)
    if vllm_distribution() is not None:
        return Loaded(_load("vllm", path, None, dtype), None)
    return Loaded(
        _load("transformers", path, None, dtype),
        "vLLM is not installed: transformers answers, several times slower "
        "(pip install 'mllm-srec[vllm]' on a machine with a GPU)",
    )


def _load(kind: EngineKind, path: Path, server_file: Path | None, dtype: Dtype) -> Engine:
    if kind == "vllm-server":
        if server_file is None:
            raise ModelError(
                "engine 'vllm-server' needs a home with a server: run `srec serve start`"
            )
        # Brings an HTTP client, needed here alone.
        from mllm_srec.llm.server_engine import VLLMServerEngine  # noqa: PLC0415

        return VLLMServerEngine(server_file)
    if kind == "vllm":
        # Heavy, and absent on many machines.
        from mllm_srec.llm.vllm_engine import VLLMEngine  # noqa: PLC0415

        return VLLMEngine(path, dtype="bfloat16" if dtype == "auto" else dtype)
    # Imports torch.
    from mllm_srec.llm.transformers_engine import TransformersEngine  # noqa: PLC0415

    return TransformersEngine(path, dtype=dtype)
