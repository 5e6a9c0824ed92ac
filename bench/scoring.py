"""Scoring a user's candidates, against a loop that sends each full prompt by itself."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.figures import Figure, ratio
from bench.shop import Call, Shop
from mllm_srec.agent.nodes.profile_user import stated
from mllm_srec.agent.nodes.score_targets import (
    NO,
    YES,
    describe_history,
    last_preference,
    now_text,
    score_prompts,
)
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.state import Settings, State
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import LabelScores, Prompt, Usage
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.store.catalogue import Catalogue

CANDIDATES = 100
LEAST_SHARED, MOST_OWN = 256, 64
"""Tokens that all prompts share, and that one has of its own."""
USERS = 40
"""Users with the longest histories among whom one is chosen."""
SAME = 0.15
"""Log-probabilities of one label that differ by more are not of the same prompt and model."""


class Scorer(Protocol):
    """Whatever scores labels."""

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        ...


class Loop:
    """A plain loop over transformers: one full prompt a call, nothing kept in between."""

    def __init__(self, model: Path, dtype: str) -> None:
        import torch  # noqa: PLC0415 - after vLLM, which sets how its threads wait
        from transformers import AutoModelForImageTextToText  # noqa: PLC0415

        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            model, dtype=getattr(torch, dtype), local_files_only=True
        )
        self._model = loaded.eval()
        self._torch: Any = torch
        self._template = ChatTemplate(model)

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Log-probabilities of the labels after each prompt."""
        ids, torch = label_token_ids(self._template, labels), self._torch
        scores = []
        with torch.inference_mode():
            for prompt in prompts:
                tokens = self._template.encode(self._template.render(prompt))
                logits = self._model(input_ids=torch.tensor([tokens]), use_cache=False).logits
                found = torch.log_softmax(logits[0, -1].float(), -1)
                logprobs = {label: float(found[token]) for label, token in ids.items()}
                scores.append(LabelScores(logprobs, Usage(len(tokens), 1)))
        return scores


def measure(shop: Shop, repeats: int) -> list[Figure]:
    """Score the same hundred prompts in all ways, in turns."""
    call, shared = _scoring_call(shop)
    # Imports torch: after vLLM, as in the product.
    from mllm_srec.llm.transformers_engine import TransformersEngine  # noqa: PLC0415

    alone = TransformersEngine(shop.model)
    # Each engine is held to the loop in its own precision.
    dtypes = {"vllm": shop.engine.info.dtype, "transformers": alone.info.dtype}
    loops = {dtype: Loop(shop.model, dtype) for dtype in dtypes.values()}
    rates = _rates({"vllm": shop.engine, "transformers": alone, **loops}, shop, call, repeats)
    return [
        Figure(
            f"score_{name}",
            ratio(rates[name], rates[dtypes[name]]),
            limit,
            at_least=True,
            detail=(
                f"{max(rates[name]):.0f} candidates/s in {dtypes[name]} at best, loop "
                + ", ".join(f"{max(rates[dtype]):.0f} in {dtype}" for dtype in loops)
                + f"; {shared} tokens shared"
            ),
        )
        for name, limit in (("vllm", 10.0), ("transformers", 4.0))
    ]


def _rates(
    ways: Mapping[str, Scorer], shop: Shop, call: Call, repeats: int
) -> dict[str, list[float]]:
    """Candidates a second of each way in each turn; the first turn warms up.

    Raises:
        RuntimeError: Two ways do not score the same.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        found = {}
        for name, way in ways.items():
            shop.engine.forget()
            started = time.perf_counter()
            found[name] = way.score_labels(call.prompts, call.labels)
            if turn:
                rates[name].append(len(call.prompts) / (time.perf_counter() - started))
        _check_same(found)
    return rates


def _scoring_call(shop: Shop) -> tuple[Call, int]:
    """The product's prompts for a user with a full profile, and the tokens that they share.

    Of the users that fit it is the one with least to share.

    Raises:
        RuntimeError: No user has prompts of the sizes wanted.
    """
    template, found = ChatTemplate(shop.model), []
    settings = Settings(candidates=CANDIDATES)
    with shop.deployment(shop.fresh_home(fused=True), settings) as deployment:
        counts = deployment.home.catalogue.interactions_frame().group_by("user_id").len()
        users = counts.sort("len", "user_id", descending=True)["user_id"].head(USERS)
        for state in Recommender(deployment).rank_many([Request(user) for user in users]):
            prompts = _prompts(deployment.home.catalogue, state)
            shared, own = _sizes([template.encode(template.render(each)) for each in prompts])
            found.append((shared, own, prompts))
    fit = [each for each in found if each[0] >= LEAST_SHARED and each[1] <= MOST_OWN]
    if not fit:
        raise RuntimeError(
            f"no user has {LEAST_SHARED} tokens shared and at most {MOST_OWN} of each candidate, "
            f"but {sorted(each[:2] for each in found)}"
        )
    shared, _, prompts = min(fit, key=lambda each: each[0])
    return Call(prompts, labels=(YES, NO)), shared


def _prompts(catalogue: Catalogue, state: State) -> list[Prompt]:
    """What `score_targets` asks about the candidates of a state."""
    ids = [candidate["item_id"] for candidate in state.candidates]
    if len(ids) != CANDIDATES:
        raise RuntimeError(f"only {len(ids)} candidates: more --items")
    fused = catalogue.representations(ids)
    so_far, now = describe_history(state.history), now_text(state)
    texts = (stated(state.profile), last_preference(state), so_far, now)
    return score_prompts(*texts, [fused[item_id].fused for item_id in ids])


def _sizes(prompts: Sequence[list[int]]) -> tuple[int, int]:
    """Tokens that all prompts begin with, and the most that one has after these."""
    first, last = min(prompts), max(prompts)
    pairs = zip(first, last, strict=False)
    shared = next((place for place, (a, b) in enumerate(pairs) if a != b), len(first))
    return shared, max(map(len, prompts)) - shared


def _check_same(found: Mapping[str, Sequence[LabelScores]]) -> None:
    first, *others = found
    for name in others:
        worst = max(
            abs(one.logprobs[label] - other.logprobs[label])
            for one, other in zip(found[first], found[name], strict=True)
            for label in one.logprobs
        )
        if worst > SAME:
            raise RuntimeError(f"{first} and {name} differ by {worst:.3f} in a log-probability")
