"""Changes to training pictures that change nothing of what they show: place, size, light.

A vision part from scratch sees about a thousand pictures; each epoch must show others. Colours are
facts to be learned: only where they are not asked for may `recolour` change them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes to a batch of normalised pictures. Draws from torch's own generator."""

    rotation: float = 12.0
    """Degrees, either way."""
    scale: float = 0.2
    """Share of the size, either way."""
    stretch: float = 0.12
    """Share by which one side grows while the other shrinks, either way."""
    shift: float = 0.1
    """Share of the side, either way."""
    contrast: float = 0.1
    """Share, either way."""
    brightness: float = 0.06
    """Share of the whole range, either way."""
    noise: float = 0.03
    """Standard deviation, as a share of the whole range."""
    erase: float = 0.3
    """Share of the pictures of which a rectangle is covered."""
    recolour: float = 0.5
    """Share of the pictures of `picture_words` that get other colours, and whose own are not asked
    for: shapes and patterns are then learned for themselves, from the same pictures."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Change pictures (N, 3, H, W) in [-1, 1]; returns new ones."""
        grid = torch.nn.functional.affine_grid(
            self._matrices(len(pixels)), list(pixels.shape), align_corners=False
        )
        moved = torch.nn.functional.grid_sample(
            pixels, grid, padding_mode="border", align_corners=False
        )
        gain = 1 + _either(len(pixels), self.contrast)[:, None, None, None]
        lift = 2 * _either(len(pixels), self.brightness)[:, None, None, None]
        lit = moved * gain + lift + torch.randn_like(moved) * (2 * self.noise)
        return self._erase(lit.clamp_(-1, 1))

    def recoloured(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Swap and dim the channels of some pictures (N, 3, H, W); says of which (N,)."""
        chosen = torch.rand(len(pixels)) < self.recolour
        swaps = torch.stack([torch.randperm(3) for _ in range(len(pixels))])
        mixed = pixels.gather(1, swaps[:, :, None, None].expand_as(pixels))
        gains = 0.3 + 1.2 * torch.rand(len(pixels), 3, 1, 1)
        other = (mixed * gains).clamp_(-1, 1)
        return torch.where(chosen[:, None, None, None], other, pixels), chosen

    def _matrices(self, count: int) -> Tensor:
        angle = _either(count, math.radians(self.rotation))
        size = 1 + _either(count, self.scale)
        flip = torch.randint(0, 2, (count,)) * 2.0 - 1.0
        longer = _either(count, self.stretch)
        wide, tall = size * (1 + longer), size * (1 - longer)
        cos, sin = angle.cos(), angle.sin()
        # The grid spans -1 to 1, so a share of the side is twice as much there.
        across, down = _either(count, 2 * self.shift), _either(count, 2 * self.shift)
        rows = [
            torch.stack([cos * wide * flip, -sin * tall, across], 1),
            torch.stack([sin * wide * flip, cos * tall, down], 1),
        ]
        return torch.stack(rows, 1)

    def _erase(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        for index in torch.nonzero(torch.rand(len(pixels)) < self.erase).flatten().tolist():
            tall, wide = (
                int(side * (0.1 + 0.2 * float(torch.rand(())))) for side in (height, width)
            )
            top = int(torch.randint(0, height - tall, ()))
            left = int(torch.randint(0, width - wide, ()))
            pixels[index, :, top : top + tall, left : left + wide] = float(_either(1, 1.0))
        return pixels


def _either(count: int, most: float) -> Tensor:
    """Random numbers (count,) between -most and most."""
    return (torch.rand(count) * 2 - 1) * most
