"""How far an engine's own arithmetic moves a score: measured when it starts, shown beside scores.

The same request may be computed cold, from the prefix cache, or beside others in a batch. The sums
are the same, their order is not, so log-probabilities differ in the last digits. Two scores closer
than that are equal.
"""

import itertools
import secrets
from collections.abc import Mapping, Sequence

from mllm_srec.llm.engine import Engine, Message, Prompt

REPLAYED = ("recorded", "scripted")
"""Engines that look answers up: the same request gives the same bytes."""
PROMPTS = 4
_BEGINNING = (
    "Would the user like the item next? The user likes toys of wood, in red or blue, without a "
    "pattern, for a child of three years, and lately looks at kites, drums and trains. "
)
_ITEMS = ("a red kite", "a blue drum of wood", "a green train", "a robot of steel, blue, striped")


def noise_floor(engine: Engine, labels: Sequence[str]) -> float:
    """The widest range, in nats, of the margin between two labels for one and the same prompt.

    A prompt is scored alone and cold, alone again, and in a batch from either end: ten prompts in
    all, each as long as a short scoring prompt.

    Raises:
        ModelError: A label is not exactly one token for this model.
    """
    if engine.info.engine in REPLAYED:
        return 0.0
    prompts = _fresh_prompts()
    first, second = labels

    def margins(asked: Sequence[Prompt]) -> list[float]:
        scores = engine.score_labels(asked, labels)
        return [score.logprobs[first] - score.logprobs[second] for score in scores]

    seen: list[Mapping[int, float]] = [
        {0: margins(prompts[:1])[0]},
        {0: margins(prompts[:1])[0]},
        dict(enumerate(margins(prompts))),
        dict(zip(reversed(range(PROMPTS)), margins(prompts[::-1]), strict=True)),
    ]
    return max(
        abs(one[index] - other[index])
        for one, other in itertools.combinations(seen, 2)
        for index in one.keys() & other.keys()
    )


def _fresh_prompts() -> list[Prompt]:
    """Prompts with one beginning that no cache can know yet."""
    beginning = f"Request {secrets.token_hex(4)}. {_BEGINNING}"
    return [Prompt((Message("user", f"{beginning}Item: {item}"),)) for item in _ITEMS]
