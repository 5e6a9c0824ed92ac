"""Items of tools, as the list on the screen holds them."""

from mllm_srec.agent.conversation.state import Shown
from mllm_srec.tools.items import ItemCard
from mllm_srec.tools.recommend import Suggestion


def shown_card(card: ItemCard) -> Shown:
    """An item without a score: a search brought it, or it was named."""
    return Shown(
        item_id=card.item_id,
        title=card.title,
        line=card.line,
        price=card.price,
        score=None,
        reason="",
        evidence=[],
    )


def shown_suggestion(suggestion: Suggestion) -> Shown:
    """An item that was recommended, with its score and its reason."""
    return Shown(
        item_id=suggestion.item_id,
        title=suggestion.title,
        line=suggestion.line,
        price=suggestion.price,
        score=suggestion.score,
        reason=suggestion.reason,
        evidence=list(suggestion.evidence),
    )
