"""Start a language part with the attention that copies: what trained ones have, and learn late.

Every step of the chain copies values from its prompt. A small transformer from scratch finds out
how to copy only after millions of tokens; its first two layers therefore start with the heads that
interpretability work found in trained models: heads that look one or two tokens back, and
induction heads that look for what followed the same token before (Olsson et al. 2022,
"In-context learning and induction heads"; the idea of starting from such weights is Trockman and
Kolter's, 2023, "Mimetic initialization"). Training goes on from there and may change all of it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MATCH = 3 / 8
"""Share of a head in which tokens are compared; the slowest turns of the rotary positions."""
FAST = 5 / 16
"""Share of a head's rotary frequencies, the fastest, that tells near offsets apart."""
QUIET = 0.3
"""Factor on everything else that writes to the residual stream in the first layers."""


@dataclass(frozen=True, slots=True)
class _Directions:
    """Orthonormal directions of the residual stream, as columns."""

    constant: Tensor
    """(H,), the part that all tokens share."""
    before: tuple[Tensor, Tensor]
    """(H, M) each: where the heads that look one and two tokens back write."""
    compared: Tensor
    """(H, M), directions of the embeddings that stand for a token when it is compared."""
    copied: Tensor
    """(H, head size), directions of the embeddings that are copied."""


def start_copying(text: nn.Module) -> None:
    """Set the embeddings and the first two layers of a Llama; uses torch's own generator.

    Args:
        text: A text model with tied embeddings and no biases, its weights random.
    """
    model: Any = text
    width = model.config.hidden_size
    head = width // model.config.num_attention_heads
    match = int(MATCH * head) // 2 * 2
    basis = torch.linalg.qr(torch.randn(width, width))[0]
    rest = basis[:, 1 + 2 * match :]
    directions = _Directions(
        constant=basis[:, 0],
        before=(basis[:, 1 : 1 + match], basis[:, 1 + match : 1 + 2 * match]),
        compared=rest[:, :match],
        copied=rest @ torch.linalg.qr(torch.randn(rest.shape[1], head))[0],
    )
    with torch.no_grad():
        weights = model.embed_tokens.weight
        free = weights @ rest @ rest.T
        length = free.norm(dim=1).mean()
        weights.copy_(free + length * directions.constant)
        for layer in model.layers:
            layer.self_attn.o_proj.weight.mul_(QUIET)
            layer.mlp.down_proj.weight.mul_(QUIET)
        speeds = model.config.rope_parameters["rope_theta"] ** -(
            torch.arange(head // 2) / (head // 2)
        )
        for number, offset in enumerate((1, 2)):
            _look_back(model.layers[0].self_attn, number, head, offset, speeds, directions)
        first, second = directions.before
        # What followed the token that stands here; what followed, one further on, the one before.
        _look_up(
            model.layers[1].self_attn,
            0,
            head,
            (3.3 * directions.compared, 1.65 * first),
            directions,
        )
        _look_up(model.layers[1].self_attn, 1, head, (1.6 * first, 1.6 * second), directions)


def _look_back(
    attention: Any, number: int, head: int, offset: int, speeds: Tensor, to: _Directions
) -> None:
    """Make a head attend to the token `offset` places back and write down which one it is."""
    rows = slice(number * head, (number + 1) * head)
    fast, half = int(FAST * len(speeds)), head // 2
    turn = offset * speeds[:fast]
    query, key = torch.zeros(head), torch.zeros(head)
    query[:fast] = 0.75
    key[:fast], key[half : half + fast] = 0.75 * turn.cos(), 0.75 * turn.sin()
    attention.q_proj.weight[rows] = torch.outer(query, to.constant)
    attention.k_proj.weight[rows] = torch.outer(key, to.constant)
    attention.v_proj.weight[rows] = 0
    attention.v_proj.weight[rows][: to.compared.shape[1]] = to.compared.T
    attention.o_proj.weight[:, rows] = 0
    attention.o_proj.weight[:, rows][:, : to.compared.shape[1]] = 0.08 * to.before[number]


def _look_up(
    attention: Any, number: int, head: int, compare: tuple[Tensor, Tensor], to: _Directions
) -> None:
    """Make a head attend where two sets of directions hold one token, and copy what is there."""
    start = number * head
    # The slowest frequencies, both halves of each pair: they hardly turn over a prompt.
    half = torch.arange(head // 2 - to.compared.shape[1] // 2, head // 2)
    slow = torch.cat([half, half + head // 2]) + start
    rows = slice(start, start + head)
    for projection, directions in zip((attention.q_proj, attention.k_proj), compare, strict=True):
        projection.weight[rows] = 0
        projection.weight[slow] = directions.T
    attention.v_proj.weight[rows] = to.copied.T
    attention.o_proj.weight[:, rows] = 0.115 * to.copied
