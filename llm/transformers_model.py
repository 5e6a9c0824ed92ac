"""A model folder loaded by transformers, and what its configuration must name."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from mllm_srec.llm.engine import ModelError

_NAMED = 3
"""So many missing weights are named."""


def load_model(model_path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model and its processor, from its folder alone.

    Raises:
        ModelError: transformers cannot load it, or its files lack some of its weights.
    """
    quiet_transformers()
    make_processor: Any = AutoProcessor
    make_model: Any = AutoModelForImageTextToText
    try:
        processor = make_processor.from_pretrained(model_path, local_files_only=True)
        model, found = make_model.from_pretrained(
            model_path,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"transformers cannot load {model_path}: {error}") from error
    # transformers draws them at random; those tied to others are not among them.
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelError(
            f"the *.safetensors files in {str(model_path)!r} lack the weights "
            f"{', '.join(missing[:_NAMED])}{more}: copy or download the model again"
        )
    return model, processor


def quiet_transformers() -> None:
    """Let transformers speak of errors alone, and draw no bars.

    Among its warnings is one of a pad_token_id outside the vocabulary, whenever an Idefics3 is
    saved: it means the default configuration, with which transformers compares what it writes.
    """
    quiet: Any = transformers_logging  # without types
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()


def end_ids(settings: Any) -> list[int]:
    """Tokens that end an answer, by the generation settings.

    Raises:
        ModelError: They name none.
    """
    ends = settings.eos_token_id
    if ends is None:
        raise ModelError("the model names no end token: set eos_token_id in generation_config.json")
    return list(ends) if isinstance(ends, list) else [int(ends)]


def image_token_id(config: Any) -> int:
    """The token that stands for a picture.

    Raises:
        ModelError: The model takes no pictures.
    """
    for name in ("image_token_id", "image_token_index"):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    raise ModelError("the model's config names no image token: use an image-text-to-text model")
