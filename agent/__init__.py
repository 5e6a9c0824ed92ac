"""The state machines, their nodes, the trace and the terminal.

What programs need is here by name, and imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mllm_srec.agent.chat_model import ChatMLLM
    from mllm_srec.agent.conversation.conversation import Conversation, Conversations
    from mllm_srec.agent.conversation.results import TurnResult
    from mllm_srec.agent.recommender import DeadlineExceeded, Recommender, Request
    from mllm_srec.agent.results import Recommendation
    from mllm_srec.agent.toolbox import langchain_tools

__all__ = [
    "ChatMLLM",
    "Conversation",
    "Conversations",
    "DeadlineExceeded",
    "Recommendation",
    "Recommender",
    "Request",
    "TurnResult",
    "langchain_tools",
]

_PLACES = {
    "ChatMLLM": "chat_model",
    "Conversation": "conversation.conversation",
    "Conversations": "conversation.conversation",
    "DeadlineExceeded": "recommender",
    "Recommendation": "results",
    "Recommender": "recommender",
    "Request": "recommender",
    "TurnResult": "conversation.results",
    "langchain_tools": "toolbox",
}


def __getattr__(name: str) -> Any:
    # `srec --help` imports this package, and must not wait for LangGraph and a model's libraries.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
