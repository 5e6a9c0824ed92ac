"""Does vLLM answer as transformers does? 50 prompts decide before a model ships."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.score_targets import NO, YES, score_prompts
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.results import Progress
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import LabelScores, Message, ModelError, Prompt
from mllm_srec.llm.load import Dtype, load_engine
from mllm_srec.llm.pictures import PictureBudget, load_budget, prepare
from mllm_srec.store.records import FusedItem

BOUNDS: dict[Dtype, float] = {"float32": 0.005, "bfloat16": 0.1}
"""Largest difference of a label's log-probability, in nats: those of the engine contract."""
WITH_PICTURE = 20
WITHOUT_PICTURE = 30

# vLLM last: it takes a share of the whole GPU, which has to be free then.
_ENGINES = ("transformers", "vllm")

_VALUES = ("red", "striped", "sporty", "cotton", "wood", "travel", "budget", "toddler")
_KINDS = ("stroller", "ball", "kite", "lipstick", "backpack")


class ParityError(FinetuneError):
    """Serving does not give what training made."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences that were found, in nats."""

    float32: float
    bfloat16: float


def check_parity(model: Path, progress: Progress = lambda stage, done, total: None) -> Parity:
    """Load a model folder with both engines, one after the other, and compare their answers.

    Args:
        model: The folder.
        progress: Told how many engines have answered.

    Raises:
        ParityError: An engine cannot load the model, or the answers differ by more than `BOUNDS`.
    """
    prompts = list(parity_prompts(load_budget(model)))
    found: dict[Dtype, float] = {}
    loads = len(BOUNDS) * len(_ENGINES)
    for number, (dtype, bound) in enumerate(BOUNDS.items()):
        scores: list[list[LabelScores]] = []
        try:
            for kind in _ENGINES:
                progress("parity", number * len(_ENGINES) + len(scores), loads)
                scores.append(_scores(kind, model, dtype, prompts))
                _free_memory()
            found[dtype] = largest_difference(*scores)
        # RuntimeError is how torch says that the memory is full.
        except (ModelError, RuntimeError) as error:
            raise ParityError(
                f"{model.name!r} could not be checked in {dtype}: {error}; where vLLM cannot be "
                "had, `--unchecked` exports without the check"
            ) from error
        # The comparison fails for NaN as well.
        if not found[dtype] <= bound:
            raise ParityError(
                f"vLLM and transformers differ by {found[dtype]:.3g} nats on {model.name!r} in "
                f"{dtype}, at most {bound}: {_cause(found)}"
            )
    progress("parity", loads, loads)
    return Parity(found["float32"], found["bfloat16"])


def _cause(found: Mapping[Dtype, float]) -> str:
    """Why the engines differ in the last precision that was tried."""
    if found.get("float32", np.inf) <= BOUNDS["float32"] and "bfloat16" in found:
        return (
            f"in float32 they agree ({found['float32']:.2g}), so it is the rounding, and the "
            "weights have grown too large for it: train for less time, or at a lower rate"
        )
    return (
        "the configuration does not fit the weights (tie_word_embeddings, picture processor), or "
        "adapters were merged into another base"
    )


def parity_prompts(budget: PictureBudget) -> Iterator[Prompt]:
    """Yield scoring prompts, the first with a picture each; the same ones every time."""
    rng = np.random.default_rng(0)
    for number in range(WITH_PICTURE + WITHOUT_PICTURE):
        [prompt] = score_prompts(
            *_taste(rng),
            "9 items, 7 of them liked",
            "May, 3 days after the last interaction",
            [_item(rng)],
        )
        if number < WITH_PICTURE:
            *before, asked = prompt.messages
            size = (*rng.integers(40, 300, 2).tolist(), 3)
            image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            shown = Message(asked.role, asked.text, (prepare(image, budget),))
            prompt = Prompt((*before, shown))
        yield prompt


def largest_difference(one: Sequence[LabelScores], other: Sequence[LabelScores]) -> float:
    """How far two engines are apart on the labels' log-probabilities, in nats."""
    pairs = zip(one, other, strict=True)
    apart = [abs(a.logprobs[label] - b.logprobs[label]) for a, b in pairs for label in (YES, NO)]
    return float(np.max(apart))


def _scores(kind: str, model: Path, dtype: Dtype, prompts: Sequence[Prompt]) -> list[LabelScores]:
    """What one engine answers."""
    with closing(load_engine(kind, model, dtype=dtype).engine) as engine:
        return engine.score_labels(prompts, (YES, NO))


def _free_memory() -> None:
    """Give back what a closed engine held of the GPU, of which vLLM wants a share."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _taste(rng: np.random.Generator) -> tuple[Profile, Preference]:
    drawn = rng.permutation(_VALUES).tolist()
    return Profile(loves=drawn[:2], dislikes=drawn[2:3]), Preference(strong=drawn[3:6])


def _item(rng: np.random.Generator) -> FusedItem:
    seen, told = rng.permutation(_VALUES)[:2].tolist()
    return FusedItem(what=str(rng.choice(_KINDS)), seen={"colour": seen}, told={"material": told})
