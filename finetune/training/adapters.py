"""Which layers of a model get low-rank adapters."""

import re
from typing import TYPE_CHECKING

from torch import nn

from mllm_srec.finetune.training.recipe import LoraSettings, RecipeError

if TYPE_CHECKING:
    from peft import LoraConfig

# The language part is called text_model or language_model, the vision part otherwise.
_LANGUAGE, _VISION = ("text_model", "language_model"), ("vision_model", "visual")
_LAYERS = "[qkvo]_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2|attn.qkv|attn.proj"


def lora_config(settings: LoraSettings, model: nn.Module) -> "LoraConfig":
    """What PEFT makes adapters by, of the language part or of both.

    Raises:
        RecipeError: The model has no layer of these names.
    """
    from peft import LoraConfig  # noqa: PLC0415 — slow to import, and most runs need none

    parts = [*_LANGUAGE, *(_VISION if settings.vision else ())]
    wanted = rf".*({'|'.join(parts)})\..*({_LAYERS})"
    if not any(re.fullmatch(wanted, name) for name, _ in model.named_modules()):
        raise RecipeError(
            f"'lora' finds no layer to adapt in {type(model).__name__}: none is called "
            f"{wanted!r}; leave [lora] out of the recipe to train all weights"
        )
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=wanted,
    )
