"""A user's own picture: what the model sees in it, merged with what was said of it."""

from mllm_srec.agent.ask import ask
from mllm_srec.agent.nodes.fuse_items import (
    MAX_TOKENS,
    fuse_question,
    look_question,
)
from mllm_srec.agent.state import Context
from mllm_srec.llm.pictures import prepare
from mllm_srec.store.records import FusedItem, Item


async def fused_picture(context: Context, picture: str, words: str = "") -> FusedItem:
    """Fuse a kept picture, by its content hash, as ingest fuses an item."""
    image = prepare(context.home.pictures.load(picture), context.budget)
    [look] = await ask(
        context.calls,
        [look_question(image)],
        max_tokens=MAX_TOKENS,
    )
    [fused] = await ask(
        context.calls,
        [fuse_question(Item(item_id="picture", title=words), look.value)],
        max_tokens=MAX_TOKENS,
    )
    return fused.value
