"""What is learned and measured: cross entropy of the answers, and which are wholly right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from mllm_srec.finetune.training.batches import once
from mllm_srec.finetune.training.encode import Encoded
from mllm_srec.finetune.training.picture_words import PICTURE_WORDS
from mllm_srec.finetune.training.recipe import SCORING, SCORING_AUC

Collate = Callable[[Sequence[Encoded]], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model makes of the answer tokens of a batch."""

    logits: Tensor
    """(N, V) float32."""
    targets: Tensor
    """(N,) the right tokens."""
    weights: Tensor
    """(N,) how much each counts."""

    @property
    def losses(self) -> Tensor:
        """Cross entropy of every token (N,)."""
        return nn.functional.cross_entropy(self.logits, self.targets, reduction="none")

    @property
    def loss(self) -> Tensor:
        """Weighted mean cross entropy."""
        return (self.losses * self.weights).sum() / self.weights.sum()

    @property
    def right(self) -> Tensor:
        """Whether the token was the most likely one (N,)."""
        return self.logits.detach().argmax(-1) == self.targets


def read_answers(model: nn.Module, inputs: dict[str, Tensor]) -> Answers:
    """Run a model over a batch that `Collator` made."""
    targets, weights = inputs.pop("targets"), inputs.pop("weights")
    return Answers(model(**inputs).logits.float(), targets, weights)


def list_loss(answers: Answers, lists: Tensor, yes: int, no: int) -> Tensor:
    """Mean cross entropy of finding each liked item among itself and the others of its list.

    The margin log p(Yes) - log p(No) is the score that serving ranks by. With others drawn from q,
    cross entropy teaches it p / (p + q) and this p / q up to a number for each user: the same
    order, so the two do not pull against each other.

    Args:
        answers: Of a batch of scoring groups.
        lists: (N,) the list that an answer token is the label in; -1 for other tokens.
        yes: Token of the label of liked items.
        no: Token of the label of the others.
    """
    labels = lists >= 0
    margins = answers.logits[labels, yes] - answers.logits[labels, no]
    liked, lists = answers.targets[labels] == yes, lists[labels]
    rivals = (lists[liked, None] == lists[None, :]) & ~liked
    has_rivals = rivals.any(1)
    if not has_rivals.any():
        return margins.sum() * 0.0
    others = margins.masked_fill(~rivals[has_rivals], -torch.inf).logsumexp(1)
    return nn.functional.softplus(others - margins[liked][has_rivals]).mean()


def pairs_in_order(answers: Answers, groups: Tensor, yes: int, no: int) -> tuple[int, float]:
    """Count the pairs of a liked item and another of its group, and those in the right order.

    Args:
        answers: Of a batch of scoring groups.
        groups: (N,) the group that an answer token belongs to.
        yes: Token of the label of liked items.
        no: Token of the label of the others.

    Returns:
        How many pairs there are, and in how many log p(Yes) - log p(No) is higher for the liked
        item; ties count half.
    """
    margins = answers.logits[:, yes] - answers.logits[:, no]
    liked, others = answers.targets == yes, answers.targets == no
    ahead = margins[liked, None] - margins[None, others]
    paired = groups[liked, None] == groups[None, others]
    return int(paired.sum()), float((((ahead > 0) + 0.5 * (ahead == 0)) * paired).sum())


def word_loss(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Cross entropy of the words of pictures, (B, W), against what the picture tokens say."""
    words = inputs.pop("words")
    chances = model(**inputs, picture_words=True).logits.float().log_softmax(-1)
    there = words >= 0
    found = chances.gather(1, words.clamp(min=0)) * there
    share: Tensor = found.sum(1) / there.sum(1).clamp(min=1)
    return -share.mean()


def learn_answers_only(model: Any) -> None:
    """Let `model(..., rows=...)` compute the logits of these places only.

    And `model(pixel_values=..., picture_words=True)` those of the mean of a picture's tokens.

    The head over all places is a third of a small model's work. Patched into `forward`, as TRL does
    with its own head, so that wrappers (PEFT, DDP) stay outside.
    """
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    original: Callable[..., Any] = inner.forward

    def forward(
        self: Any,
        *args: Any,
        rows: Tensor | None = None,
        picture_words: bool = False,
        **given: Any,
    ) -> Any:
        if picture_words:
            seen = self.get_image_features(**given).pooler_output.mean(1)
            read = self.model.text_model.norm(seen)
            return CausalLMOutput(logits=self.get_output_embeddings()(read))
        if rows is None:
            return original(*args, **given)
        out = self.base_model(*args, use_cache=False, **given)
        read = out.last_hidden_state.flatten(0, 1)[rows]
        return CausalLMOutput(logits=self.get_output_embeddings()(read))

    inner.forward = MethodType(forward, inner)


@torch.no_grad()
def validate(
    model: nn.Module,
    records: Sequence[Encoded],
    collator: Collate,
    *,
    labels: tuple[int, int],
    tokens: int = 8192,
    bf16: bool = True,
) -> dict[str, float]:
    """Loss, token accuracy and share of wholly right answers of every task; the AUC of scoring.

    For trees the answers are the branches' labels. The AUC is over the pairs of a liked item and
    another of the same group, and missing where there are none. `labels` are the tokens of Yes and
    No.
    """
    was = model.training
    model.eval()
    figures: dict[str, float] = {}
    members = members_by_task(records)
    for task in members:
        sums = torch.zeros(7)
        for numbers in once(members[task], tokens):
            chosen = [records[number] for number in numbers]
            with torch.autocast(_device(model).type, torch.bfloat16, enabled=bf16):
                batch = {key: v.to(_device(model)) for key, v in collator(chosen).items()}
                sums += _batch_figures(model, batch, chosen, labels)
        loss, weight, right, answers, whole, pairs, ordered = sums.tolist()
        figures[f"{task}_loss"] = loss / weight
        figures[f"{task}_right_tokens"] = right / weight
        figures[f"{task}_right_answers"] = whole / answers
        if task == SCORING and pairs:
            figures[SCORING_AUC] = ordered / pairs
    model.train(was)
    return figures


def _batch_figures(
    model: nn.Module,
    batch: dict[str, Tensor],
    records: Sequence[Encoded],
    labels: tuple[int, int],
) -> Tensor:
    answers = read_answers(model, batch)
    losses, weights, right = answers.losses, answers.weights, answers.right
    # Answers are runs of targets: one for each record, or for each branch of a tree.
    runs = torch.cat(
        [
            torch.from_numpy(record.branch[record.weights > 0].astype("int64")) + 10_000 * number
            for number, record in enumerate(records)
        ]
    )
    _, which = torch.unique(runs, return_inverse=True)
    wrong = torch.zeros(int(which.max()) + 1).index_add_(0, which, (~right).float().cpu())
    groups = (runs // 10_000).to(answers.targets.device)
    return torch.tensor(
        [
            float((losses * weights).sum()),
            float(weights.sum()),
            float((right * weights).sum()),
            len(wrong),
            int((wrong == 0).sum()),
            *pairs_in_order(answers, groups, *labels),
        ]
    )


def members_by_task(
    records: Sequence[Encoded], picture: int = 1
) -> dict[str, list[tuple[int, int]]]:
    """Number and length of every record by task; a picture alone counts as so many tokens."""
    members: dict[str, list[tuple[int, int]]] = {}
    for number, record in enumerate(records):
        length = picture if record.task == PICTURE_WORDS else record.length
        members.setdefault(record.task, []).append((number, length))
    return members


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
