"""The tools as LangChain and MCP see them, each called by the client of its own library."""

import asyncio
import base64
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from mcp import Client, StdioServerParameters
from PIL import Image

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.mcp_server import build_server
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.toolbox import langchain_tools

from .conversation.talk import engine
from .shop import deploy

TOOLS = {
    "recommend",
    "search_text",
    "search_picture",
    "similar_items",
    "item_details",
    "compare_items",
    "explain_item",
    "user_history",
    "user_profile",
    "give_feedback",
    "undo_feedback",
}
SERVE = """
import sys
from pathlib import Path
from mllm_srec.agent.mcp_server import build_server
from mllm_srec.agent.recommender import Recommender
from tests.agent.conversation.talk import engine
from tests.agent.shop import deploy

with deploy(Path(sys.argv[1]), engine()) as deployment:
    build_server(Recommender(deployment), "ben").run("stdio")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools") / "home"


@pytest.fixture(scope="module")
def srec(home: Path) -> Iterator[Recommender]:
    with deploy(home, engine()) as deployment:
        fuse_missing(deployment)
        yield Recommender(deployment)


@pytest.fixture(scope="module")
def tools(srec: Recommender) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in langchain_tools(srec, "ben")}


def call(tool: BaseTool, **arguments: Any) -> Any:
    return asyncio.run(tool.ainvoke(arguments))


def png() -> str:
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (20, 160, 20)).save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


def test_a_langchain_agent_gets_every_tool_with_a_description(tools: dict[str, BaseTool]) -> None:
    assert set(tools) == TOOLS
    assert all(tool.description for tool in tools.values())
    assert "user" not in tools["recommend"].args


def test_results_are_small_and_carry_ids(tools: dict[str, BaseTool]) -> None:
    found = call(tools["recommend"], k=2, max_price=30)
    assert len(found["items"]) == 2
    assert found["items"][0]["item_id"].startswith("i")
    assert len(str(found)) < 4_000
    assert call(tools["item_details"], item_id="i8")["told"] == {"material": "rubber"}


def test_a_picture_is_searched_by_what_the_model_sees_in_it(tools: dict[str, BaseTool]) -> None:
    found = call(tools["search_picture"], picture_base64=png())
    assert "green" in found["seen"]
    assert found["items"][0]["item_id"] in ("i7", "i8")


def test_feedback_is_kept_with_its_origin_and_taken_back(tools: dict[str, BaseTool]) -> None:
    call(tools["give_feedback"], stance="never", value="blue")
    [wish] = call(tools["user_profile"])["wishes"]
    assert (wish["stance"], wish["subject"], wish["origin"]) == ("never", "blue", "an agent")
    shown = {item["item_id"] for item in call(tools["recommend"], k=8)["items"]}
    assert not shown & {"i4", "i5", "i6"}
    call(tools["undo_feedback"])
    assert call(tools["user_profile"])["wishes"] == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("item_details", {"item_id": "i404"}, "no item has the id 'i404'"),
        ("recommend", {"k": 500}, "ask for 1 to 50"),
        ("recommend", {"min_price": 9, "max_price": 1}, "swap them"),
        ("search_picture", {"picture_base64": "no"}, "not base64"),
        ("give_feedback", {"stance": "more", "value": "gold"}, "no item here is 'gold'"),
    ],
)
def test_a_call_that_fails_says_why_in_words(
    tools: dict[str, BaseTool], name: str, arguments: dict[str, Any], message: str
) -> None:
    assert message in call(tools[name], **arguments)


def test_an_mcp_client_lists_and_calls_the_tools(srec: Recommender) -> None:
    async def talk() -> tuple[set[str], Any, Any]:
        async with Client(build_server(srec, "ben")) as client:
            listed = await client.list_tools()
            found = await client.call_tool("recommend", {"k": 2})
            failed = await client.call_tool("item_details", {"item_id": "i404"})
            return {tool.name for tool in listed.tools}, found, failed

    names, found, failed = asyncio.run(talk())
    assert names == TOOLS
    assert not found.is_error
    assert len(found.structured_content["items"]) == 2
    assert failed.is_error
    assert "no item has the id 'i404'" in failed.content[0].text


def test_the_server_speaks_over_standard_input_and_output(srec: Recommender, home: Path) -> None:
    program = StdioServerParameters(
        command=sys.executable,
        args=["-c", SERVE, str(home)],
        cwd=str(Path(__file__).parents[2]),
        env=dict(os.environ),
    )

    async def talk() -> Any:
        async with Client(program) as client:
            return await client.call_tool("compare_items", {"first": "i1", "second": "i3"})

    compared = asyncio.run(talk())
    assert set(compared.structured_content["both"]) == {"red", "wood"}
