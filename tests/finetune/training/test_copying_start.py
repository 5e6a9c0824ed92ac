from typing import Any

import pytest
import torch

from mllm_srec.finetune.training.tiny import TinyConfig, make_model, make_tokenizer

LENGTH = 40


@pytest.fixture(scope="module")
def attentions() -> tuple[torch.Tensor, ...]:
    tokenizer = make_tokenizer(["red striped cotton kite " * 50])
    model: Any = make_model(tokenizer, TinyConfig())
    text = model.model.text_model
    text.set_attn_implementation("eager")
    once = torch.randperm(len(tokenizer))[:LENGTH]
    with torch.no_grad():
        seen = text(input_ids=torch.cat([once, once])[None], output_attentions=True)
    return tuple(seen.attentions)


@pytest.mark.parametrize(("head", "offset"), [(0, 1), (1, 2)])
def test_the_first_layer_looks_back(
    attentions: tuple[torch.Tensor, ...], head: int, offset: int
) -> None:
    pattern = attentions[0][0, head]
    weights = torch.tensor([pattern[place, place - offset] for place in range(5, 2 * LENGTH)])
    assert weights.mean() > 0.8


def test_the_second_layer_finds_what_followed_the_same_token(
    attentions: tuple[torch.Tensor, ...],
) -> None:
    pattern = attentions[1][0, 0]
    weights = [pattern[place, place - LENGTH + 1] for place in range(LENGTH + 3, 2 * LENGTH)]
    assert torch.stack(weights).mean() > 0.3


def test_the_second_layer_skips_a_separator(attentions: tuple[torch.Tensor, ...]) -> None:
    # From the token after a value, to what stood two places after that value.
    pattern = attentions[1][0, 1]
    weights = [pattern[place, place - LENGTH + 1] for place in range(LENGTH + 3, 2 * LENGTH)]
    assert torch.stack(weights).mean() > 0.5
