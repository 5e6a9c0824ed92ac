"""`python -m bench.carried`: the words of texts that a description repeats, learned and others.

Shops of other seeds share no brand, but more than half of their materials and purposes: how well a
model repeats a word that it never met is another question than how well it repeats one of its own.
Which is which follows from the seed of the shop that it was trained on.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mllm_srec.agent.nodes.fuse_items import item_text
from mllm_srec.finetune.evaluation.fusion import CARRIED
from mllm_srec.finetune.evaluation.truth import read_items, unseen_items
from mllm_srec.finetune.shop.vocabulary import shop_words
from mllm_srec.store.home import Home


@dataclass(slots=True)
class Count:
    """Words that a text names, and of these the ones that the description names as well."""

    named: int = 0
    repeated: int = 0


def carried(home: Home, truth: Path, learned: int) -> Mapping[tuple[str, bool], Count]:
    """Count the words of the described items that nobody labelled.

    Args:
        home: Its descriptions count.
        truth: The folder `truth` of its shop.
        learned: Seed of the shop that the model was trained on.

    Returns:
        A count for each attribute, by whether that shop has the word.
    """
    words = shop_words(learned)
    known = {"brand": words.brands, "material": words.materials, "purpose": words.purposes}
    truths, unseen = read_items(truth), unseen_items(truth)
    items = home.catalogue.items()
    counts = {(name, met): Count() for name in CARRIED for met in (True, False)}
    for item_id, described in home.catalogue.representations().items():
        text = item_text(items[item_id]).casefold()
        for name in CARRIED if item_id in unseen else ():
            word = getattr(truths[item_id], name)
            if word.casefold() in text:
                count = counts[name, word in known[name]]
                count.named += 1
                count.repeated += described.fused.told.get(name, "").casefold() == word.casefold()
    return counts


def main() -> int:
    """Print the counts of a home."""
    parser = argparse.ArgumentParser(prog="python -m bench.carried", description=__doc__)
    parser.add_argument("home", type=Path, help="home of a drawn shop, its items described")
    parser.add_argument("--truth", type=Path, required=True, help="folder `truth` of that shop")
    parser.add_argument("--learned", type=int, default=11, help="seed of the training shop")
    options = parser.parse_args()
    with Home.open(options.home) as home:
        counts = carried(home, options.truth, options.learned)
    for (name, met), count in counts.items():
        if count.named:
            whose = "that the training shop has" if met else "that it lacks"
            sys.stdout.write(f"{name}, words {whose}: {count.repeated} of {count.named}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
