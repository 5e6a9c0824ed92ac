"""The state machines, their nodes, the trace and the terminal.

What programs need is here by name, and imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mllm_srec.agent.chat_model import ChatMLLM
    from mllm_srec.agent.conversation.conversation import Conversation, Conversations
    from mllm_srec.agent.conversation.results import TurnResult
    from mllm_srec.agent.errors import SREC_ERRORS, DeadlineExceeded
    from mllm_srec.agent.events import NodeEnded, NodeStarted, PartialAnswer, Ranked, Recommended
    from mllm_srec.agent.langchain_toolbox import langchain_tools
    from mllm_srec.agent.recommender import Recommender, Request
    from mllm_srec.agent.results import Recommendation
    from mllm_srec.llm.engine import EngineLost, ModelError
    from mllm_srec.store.errors import (
        BadPicture,
        BadRecord,
        HomeBusy,
        HomeError,
        IndexMismatch,
        ItemGone,
        StoreError,
    )
    from mllm_srec.store.records import Item
    from mllm_srec.tools.errors import CannotDo, ToolError, WrongCall
    from mllm_srec.tools.filters import ItemFilter

__all__ = [
    "SREC_ERRORS",
    "BadPicture",
    "BadRecord",
    "CannotDo",
    "ChatMLLM",
    "Conversation",
    "Conversations",
    "DeadlineExceeded",
    "EngineLost",
    "HomeBusy",
    "HomeError",
    "IndexMismatch",
    "Item",
    "ItemFilter",
    "ItemGone",
    "ModelError",
    "NodeEnded",
    "NodeStarted",
    "PartialAnswer",
    "Ranked",
    "Recommendation",
    "Recommended",
    "Recommender",
    "Request",
    "StoreError",
    "ToolError",
    "TurnResult",
    "WrongCall",
    "langchain_tools",
]

_PLACES = {
    "SREC_ERRORS": "agent.errors",
    "BadPicture": "store.errors",
    "BadRecord": "store.errors",
    "CannotDo": "tools.errors",
    "ChatMLLM": "agent.chat_model",
    "Conversation": "agent.conversation.conversation",
    "Conversations": "agent.conversation.conversation",
    "DeadlineExceeded": "agent.errors",
    "EngineLost": "llm.engine",
    "HomeBusy": "store.errors",
    "HomeError": "store.errors",
    "IndexMismatch": "store.errors",
    "Item": "store.records",
    "ItemFilter": "tools.filters",
    "ItemGone": "store.errors",
    "ModelError": "llm.engine",
    "NodeEnded": "agent.events",
    "NodeStarted": "agent.events",
    "PartialAnswer": "agent.events",
    "Ranked": "agent.events",
    "Recommendation": "agent.results",
    "Recommended": "agent.events",
    "Recommender": "agent.recommender",
    "Request": "agent.recommender",
    "StoreError": "store.errors",
    "ToolError": "tools.errors",
    "TurnResult": "agent.conversation.results",
    "WrongCall": "tools.errors",
    "langchain_tools": "agent.langchain_toolbox",
}


def __getattr__(name: str) -> Any:
    # `srec --help` imports this package, and must not wait for LangGraph and a model's libraries.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mllm_srec.{_PLACES[name]}"), name)
