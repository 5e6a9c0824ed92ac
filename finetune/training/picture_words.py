"""The task of learning which words stand in the answer about a picture."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable

import numpy as np

from mllm_srec.finetune.training.encode import Encoded

PICTURE_WORDS = "picture_words"
"""The task of learning which words stand in the answer about a picture, without reading the prompt:
a picture costs a tenth of a `look` record that way (SuperClass, Huang et al. 2024)."""


def picture_words(
    records: Iterable[Encoded], colour_words: Callable[[Encoded], Collection[int]]
) -> list[Encoded]:
    """For each `look` record the words of its answer that tell it from other answers.

    Args:
        records: Encoded records, of any task.
        colour_words: Says which tokens of an answer hold no more when the picture is recoloured;
            they get the weight 0.
    """
    looks = [record for record in records if record.task == "look"]
    bags = [set(record.ids[record.weights > 0].tolist()) for record in looks]
    often = Counter(word for bag in bags for word in bag)
    made = []
    for record, bag in zip(looks, bags, strict=True):
        words = np.array(sorted(w for w in bag if often[w] <= len(looks) / 2), np.int32)
        if len(words):
            zeros = np.zeros(len(words), np.int16)
            fixed = ~np.isin(words, list(colour_words(record)))
            made.append(
                Encoded(
                    PICTURE_WORDS,
                    words,
                    zeros.astype(np.int32),
                    zeros,
                    fixed.astype(np.float32),
                    record.images,
                )
            )
    return made
