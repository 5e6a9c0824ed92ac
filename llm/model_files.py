"""A model as files: where it lies, and the hash that names what it is."""

import hashlib
import os
from pathlib import Path

from mllm_srec.llm.engine import ModelError

# What changes an answer; cards, optimiser states and training logs do not.
_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*processor_config.json",
    "chat_template*",
    "picture_budget.json",
    "token_frequencies.json",
)

ADAPTERS = "adapter_config.json"
"""What a folder of adapters has in the place of a `config.json`."""

_Stamp = tuple[tuple[str, int, int], ...]
_hashes: dict[Path, tuple[_Stamp, str]] = {}


def resolve_model(name: str | os.PathLike[str]) -> Path:
    """The folder of a model: a path, or the name of one already in the Hugging Face cache.

    Raises:
        ModelError: There is no such model on this machine.
    """
    # `Path.expanduser` raises where there is no such user.
    folder = Path(os.path.expanduser(name))
    if (folder / "config.json").is_file():
        return folder.resolve()
    text = str(name)
    if (folder / ADAPTERS).is_file():
        raise ModelError(
            f"{text!r} holds adapters: merge them with `srec finetune export --model {text} "
            "--out DIR` and give that folder"
        )
    missing = f"{text!r} is no model folder: it needs a config.json"
    if folder.exists() or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ModelError(missing)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 — slow to import
    from huggingface_hub.errors import (  # noqa: PLC0415
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(text, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(missing) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"model {text!r} is not on this machine, neither as a folder nor in the Hugging Face "
            f"cache: fetch it with `hf download {text}`"
        ) from error


def model_hash(model_path: Path) -> str:
    """SHA-256 over weights, configuration, tokenizer and chat template, as hexadecimal digits.

    Kept in memory as long as no file changes size or time.
    """
    folder = model_path.resolve()
    files = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
    stamp = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in files)
    known = _hashes.get(folder)
    if known is not None and known[0] == stamp:
        return known[1]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    _hashes[folder] = (stamp, digest.hexdigest())
    return digest.hexdigest()
