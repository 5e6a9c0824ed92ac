"""`bench.carried` tells the words of the training shop from those that the model never met."""

from pathlib import Path

from bench.carried import carried
from mllm_srec.finetune.evaluation.truth import read_items, unseen_items
from mllm_srec.finetune.shop.make import make_shop
from mllm_srec.finetune.shop.vocabulary import shop_words
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item, Representation

LEARNED = 11


def test_learned_words_are_counted_apart_and_labelled_items_not_at_all(tmp_path: Path) -> None:
    make_shop(1, 64, 10, tmp_path / "shop", pictures=False)
    truth = tmp_path / "shop" / "truth"
    truths, unseen = read_items(truth), sorted(unseen_items(truth))
    labelled = min(set(truths) - set(unseen))
    learned = set(shop_words(LEARNED).materials)
    named = [truths[item_id].material in learned for item_id in unseen]
    assert {True, False} == set(named)
    with Home.open(tmp_path / "home", create=True) as home:
        home.catalogue.put_items(
            Item(item_id=item_id, title=f"made of {truths[item_id].material}")
            for item_id in [*unseen, labelled]
        )
        # Every learned material is repeated, and no other.
        home.catalogue.put_representations(
            Representation(
                item_id=item_id,
                fused=FusedItem(what="ball", told={"material": truths[item_id].material.title()})
                if truths[item_id].material in learned
                else FusedItem(what="ball"),
                key="k",
            )
            for item_id in [*unseen, labelled]
        )
        counts = carried(home, truth, LEARNED)
    met, others = counts["material", True], counts["material", False]
    assert (met.named, met.repeated) == (sum(named), sum(named))
    assert (others.named, others.repeated) == (len(named) - sum(named), 0)
    assert counts["brand", False].named == counts["purpose", True].named == 0
