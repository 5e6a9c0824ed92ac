"""The recommender as tools of an ordinary LangGraph agent.

`python examples/agent.py HOME USER MODEL "what shall I give my niece?"`

MODEL is the name or the folder of a model that follows instructions: srec-tiny knows the prompts
of the recommendation chain alone. Any other LangChain chat model does as well.
"""

import sys

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from mllm_srec.agent import ChatMLLM, Recommender, langchain_tools

Agent = CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]


def build_agent(model: BaseChatModel, srec: Recommender, user: str) -> Agent:
    """An agent that may call every tool of the shop, for this user alone."""
    tools = langchain_tools(srec, user)
    caller = model.bind_tools(tools)

    def think(state: MessagesState) -> dict[str, list[object]]:
        return {"messages": [caller.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile()


def main(home: str, user: str, model: str, question: str) -> None:
    """Answer a question with the tools, and show each step."""
    with Recommender.open(home) as srec:
        agent = build_agent(ChatMLLM.load(model, engine="transformers"), srec, user)
        for message in agent.invoke({"messages": [HumanMessage(question)]})["messages"]:
            message.pretty_print()


if __name__ == "__main__":
    main(*sys.argv[1:5])
