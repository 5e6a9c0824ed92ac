"""Adapters are put on the layers of the language part, and of the vision part by choice."""

import re

import pytest
from torch import nn

from mllm_srec.finetune.training.adapters import lora_config
from mllm_srec.finetune.training.recipe import LoraSettings, RecipeError

# As SmolVLM and as Qwen3-VL call them.
LANGUAGE = {
    "model.text_model.layers.0.self_attn.q_proj",
    "model.language_model.layers.0.mlp.down_proj",
}
VISION = {
    "model.vision_model.encoder.layers.0.self_attn.out_proj",
    "model.visual.blocks.0.attn.qkv",
    "model.visual.blocks.0.attn.proj",
    "model.visual.blocks.0.mlp.linear_fc1",
}
OTHERS = {"model.visual.patch_embed.proj", "model.text_model.norm", "lm_head"}


def model(*names: str) -> nn.Module:
    """A model of empty modules with these names."""
    whole = nn.Module()
    for name in names:
        at = whole
        for part in name.split("."):
            if part not in dict(at.named_children()):
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
    return whole


@pytest.mark.parametrize(("vision", "adapted"), [(False, LANGUAGE), (True, LANGUAGE | VISION)])
def test_layers_are_chosen_by_their_part(*, vision: bool, adapted: set[str]) -> None:
    names = LANGUAGE | VISION | OTHERS
    config = lora_config(LoraSettings(rank=4, vision=vision), model(*names))
    assert isinstance(config.target_modules, str)
    assert {name for name in names if re.fullmatch(config.target_modules, name)} == adapted
    assert config.r == 4


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no layer to adapt in Module: .* leave \[lora\] out"):
        lora_config(LoraSettings(), model(*OTHERS))
