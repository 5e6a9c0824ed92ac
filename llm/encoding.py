"""Prompts as token ids and pixels for transformers, grouped by what can share a computation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import ModelError, Prompt
from mllm_srec.llm.pictures import open_prepared


@dataclass(frozen=True, slots=True)
class Encoded:
    """One prompt as a model takes it (T tokens)."""

    ids: tuple[int, ...]
    """T token ids, pictures expanded to their placeholder tokens."""
    pixels: Mapping[str, torch.Tensor]
    """What the picture processor made, by the model's argument names; empty without pictures."""
    keys: tuple[str, ...]
    """Keys of the pictures, in order."""
    first_picture: int
    """Position of the first placeholder token; T without pictures."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Prompts of one shape stack along the first dimension of their pixels."""
        return tuple((name, *t.shape[1:]) for name, t in sorted(self.pixels.items()))


class Encoder:
    """Turns prompts into what a transformers model takes, each prompt by itself."""

    def __init__(self, template: ChatTemplate, processor: Callable[..., Any], image_id: int):
        """Join a chat template with the model's processor."""
        self._template = template
        self._processor = processor
        self._image_id = image_id

    def encode(self, prompt: Prompt) -> Encoded:
        """Encode one prompt, independent of any other.

        Raises:
            ModelError: The processor refuses a picture.
        """
        text = self._template.render(prompt)
        if not prompt.pictures:
            ids = tuple(self._template.encode(text))
            return Encoded(ids, {}, (), len(ids))
        images = [open_prepared(picture) for picture in prompt.pictures]
        try:
            made = self._processor(
                text=[text], images=[images], add_special_tokens=False, return_tensors="pt"
            )
        except (ValueError, TypeError) as error:
            raise ModelError(f"the model's processor refuses the pictures: {error}") from error
        ids = tuple(made.pop("input_ids")[0].tolist())
        made.pop("attention_mask", None)
        keys = tuple(picture.key for picture in prompt.pictures)
        return Encoded(ids, dict(made), keys, ids.index(self._image_id))


def stack(prompts: Sequence[Encoded], starts: int = 0) -> dict[str, torch.Tensor]:
    """Token ids and mask (B, T) of the prompts from position `starts`, padded on the left."""
    width = max(len(prompt.ids) for prompt in prompts) - starts
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tail = prompt.ids[starts:]
        ids[row, width - len(tail) :] = torch.tensor(tail)
        mask[row, width - len(tail) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


def stack_pixels(prompts: Sequence[Encoded], width: int) -> dict[str, torch.Tensor]:
    """Pixels of prompts of one shape; what belongs to tokens is padded on the left to `width`."""
    stacked = {}
    for name in prompts[0].pixels:
        parts = [prompt.pixels[name] for prompt in prompts]
        if parts[0].shape == (1, len(prompts[0].ids)):  # one value a token, such as its type
            parts = [torch.nn.functional.pad(p, (width - p.shape[1], 0)) for p in parts]
        stacked[name] = torch.cat(parts)
    return stacked


def batches(
    prompts: Sequence[Encoded], *, rows: int, tokens: int, extra: int = 0
) -> Iterator[list[int]]:
    """Indices of prompts that go through the model together: of one shape, alike in length.

    At most `rows` prompts, and at most `tokens` tokens with padding and `extra` new ones each.
    """
    order = sorted(range(len(prompts)), key=lambda i: (repr(prompts[i].shape), len(prompts[i].ids)))
    batch: list[int] = []
    for index in order:
        prompt = prompts[index]
        full = len(batch) == rows or (len(batch) + 1) * (len(prompt.ids) + extra) > tokens
        if batch and (full or prompts[batch[0]].shape != prompt.shape):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def families(prompts: Sequence[Encoded]) -> Iterator[tuple[int, list[int]]]:
    """Groups of prompts with a common beginning: its length, and the indices of the group.

    Prompts join a group as long as at least half of each is shared; what differs is never empty.
    """
    order = sorted(range(len(prompts)), key=lambda i: (prompts[i].keys, prompts[i].ids))
    group: list[int] = []
    common = longest = 0
    for index in order:
        length = len(prompts[index].ids)
        if group:
            joint = min(common, _common(prompts[group[0]], prompts[index]))
            if 2 * joint >= max(longest, length):
                group.append(index)
                common, longest = joint, max(longest, length)
                continue
            yield (common if len(group) > 1 else 0), group
        group, common, longest = [index], length - 1, length
    if group:
        yield (common if len(group) > 1 else 0), group


def _common(one: Encoded, other: Encoded) -> int:
    """Length of the common beginning; it holds all pictures of both prompts, or none."""
    end = min(len(one.ids), len(other.ids)) - 1
    if one.keys != other.keys:
        end = min(end, one.first_picture, other.first_picture)
    length = 0
    while length < end and one.ids[length] == other.ids[length]:
        length += 1
    return length
