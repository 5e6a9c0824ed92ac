"""The tools as LangChain and MCP see them, each called by the client of its own library."""

import asyncio
import base64
import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.tools import BaseTool, ToolException
from mcp import Client
from numpy.typing import NDArray
from PIL import Image

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.langchain_toolbox import langchain_tools
from mllm_srec.agent.mcp_server import build_server
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.engine import EngineLost, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.pictures import PictureStore
from mllm_srec.tools.errors import CannotDo, ToolError, WrongCall

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
    "add_to_history",
    "remove_from_history",
    "user_profile",
    "give_feedback",
    "give_item_feedback",
    "undo_feedback",
}


@pytest.fixture(scope="module")
def srec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with deploy(tmp_path_factory.mktemp("tools") / "home", engine()) as deployment:
        fuse_missing(deployment)
        yield Recommender(deployment)


@pytest.fixture(scope="module")
def tools(srec: Recommender) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in langchain_tools(srec, "ben")}


def call(tool: BaseTool, **arguments: Any) -> Any:
    return asyncio.run(tool.ainvoke(arguments))


NO_PICTURE = base64.b64encode(b"no picture at all").decode()


def png() -> str:
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (20, 160, 20)).save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


def test_a_langchain_agent_gets_every_tool_with_a_description(tools: dict[str, BaseTool]) -> None:
    assert set(tools) == TOOLS
    assert all(tool.description for tool in tools.values())
    assert "user" not in tools["recommend"].args


def test_every_argument_says_what_it_takes_in_both_protocols(
    srec: Recommender, tools: dict[str, BaseTool]
) -> None:
    async def listed() -> dict[str, Any]:
        async with Client(build_server(srec, "ben")) as client:
            return {each.name: each.input_schema for each in (await client.list_tools()).tools}

    for name, schema in asyncio.run(listed()).items():
        taken = schema.get("properties", {})
        assert taken.keys() == tools[name].args.keys()
        for argument, facts in (*taken.items(), *tools[name].args.items()):
            assert facts.get("description"), f"{name}: {argument}"


def test_the_published_schema_says_how_many_items_a_call_may_ask_for(
    tools: dict[str, BaseTool],
) -> None:
    for name, argument, most in (("recommend", "k", 50), ("user_history", "count", 100)):
        facts = tools[name].args[argument]
        assert (facts["minimum"], facts["maximum"]) == (1, most)
        with pytest.raises(WrongCall, match=f"1 to {most}"):
            tools[name].func(**{argument: most + 1})  # type: ignore[attr-defined]
    assert tools["explain_item"].args["beside"]["anyOf"][0]["maxItems"] == 50


def test_a_tool_is_called_without_await_where_a_loop_runs_and_where_none_does(
    tools: dict[str, BaseTool],
) -> None:
    def title() -> object:
        return tools["item_details"].invoke({"item_id": "i8"})["title"]

    async def in_a_notebook() -> object:
        return title()

    assert asyncio.run(in_a_notebook()) == title() == "Fine duck"


def test_tools_of_a_home_that_was_closed_say_so(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", engine()) as deployment:
        [details] = [
            tool
            for tool in langchain_tools(Recommender(deployment), "ben")
            if tool.name == "item_details"
        ]
    told = details.invoke({"item_id": "i8"})
    assert told.startswith("cannot do: ")
    assert "was closed: open it again" in told


def test_tools_are_not_bound_to_what_can_be_no_user(srec: Recommender) -> None:
    with pytest.raises(WrongCall, match="the user is '': give an id"):
        langchain_tools(srec, "")


def test_results_are_small_and_carry_ids(tools: dict[str, BaseTool]) -> None:
    found = call(tools["recommend"], k=2, max_price=30)
    assert set(found) == {"items", "notes", "trace_id", "engine"}
    assert [set(item) for item in found["items"]] == 2 * [
        {"item_id", "title", "price", "score", "reason"}
    ]
    assert found["items"][0]["item_id"].startswith("i")
    assert len(str(found)) < 700
    assert call(tools["item_details"], item_id="i8")["told"] == {"material": "rubber"}


def test_a_picture_is_searched_by_what_the_model_sees_in_it(
    tools: dict[str, BaseTool], srec: Recommender
) -> None:
    found = call(tools["search_picture"], picture_base64=png())
    assert "green" in found["seen"]
    assert found["items"][0]["item_id"] in ("i7", "i8")
    assert len(srec.deployment.home.pictures.given_by("ben")) == 1


def test_a_picture_is_decoded_beside_the_other_calls(
    tools: dict[str, BaseTool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(store: PictureStore, content: bytes, *, giver: str | None = None) -> str:
        threads.append(threading.current_thread().name)
        return keep(store, content, giver=giver)

    threads, keep = list[str](), PictureStore.add
    monkeypatch.setattr(PictureStore, "add", add)
    call(tools["search_picture"], picture_base64=png())
    assert len(threads) == 1
    assert threads != ["graph"]


def test_feedback_is_kept_with_its_origin_and_taken_back(tools: dict[str, BaseTool]) -> None:
    call(tools["give_feedback"], stance="never", value="blue")
    [wish] = call(tools["user_profile"])["wishes"]
    assert (wish["stance"], wish["subject"], wish["origin"]) == ("never", "blue", "an agent")
    shown = {item["item_id"] for item in call(tools["recommend"], k=8)["items"]}
    assert not shown & {"i4", "i5", "i6"}
    call(tools["undo_feedback"])
    assert call(tools["user_profile"])["wishes"] == []


def test_an_item_is_added_to_the_history_and_taken_out(tools: dict[str, BaseTool]) -> None:
    before = [each["item_id"] for each in call(tools["user_history"])["items"]]
    call(tools["add_to_history"], item_id="i8", rating=5)
    *_, last = call(tools["user_history"])["items"]
    assert (last["item_id"], last["rating"]) == ("i8", 5)
    assert call(tools["remove_from_history"], item_id="i8")["item_id"] == "i8"
    assert [each["item_id"] for each in call(tools["user_history"])["items"]] == before


def test_an_item_is_ruled_out_and_taken_back(tools: dict[str, BaseTool]) -> None:
    call(tools["give_item_feedback"], stance="never", item_id="i2")
    assert "i2" not in {item["item_id"] for item in call(tools["recommend"], k=8)["items"]}
    assert call(tools["undo_feedback"])["subject"] == "i2"
    assert "i2" in {item["item_id"] for item in call(tools["recommend"], k=8)["items"]}


def test_items_like_another_one_leave_out_what_the_user_has_or_never_wants(
    tools: dict[str, BaseTool],
) -> None:
    def like_the_kite() -> set[str]:
        return {each["item_id"] for each in call(tools["similar_items"], item_id="i2")["items"]}

    assert like_the_kite() == {"i4", "i6", "i8"}
    call(tools["give_feedback"], stance="never", value="blue")
    call(tools["give_item_feedback"], stance="less", item_id="i8")
    assert like_the_kite() == {"i8"}
    call(tools["undo_feedback"])
    call(tools["undo_feedback"])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("recommend", {"k": 8}),
        ("search_text", {"words": "toy", "count": 8}),
        ("search_picture", {"picture_base64": "PICTURE", "count": 8}),
        ("similar_items", {"item_id": "i1", "count": 8}),
    ],
)
def test_every_list_keeps_to_its_conditions(
    tools: dict[str, BaseTool], name: str, given: dict[str, Any]
) -> None:
    shown = {**given, "picture_base64": png()} if "picture_base64" in given else given

    def found(**conditions: Any) -> set[str]:
        return {each["item_id"] for each in call(tools[name], **shown, **conditions)["items"]}

    assert found(having=["blue"], without=["wood"]) == {"i4", "i6"}
    assert len(found(max_price=20)) > 2
    assert "no item here is up to 19" in call(tools[name], **shown, max_price=19)
    assert "no item here is garden" in call(tools[name], **shown, departments=["garden"])


def test_a_search_names_unknown_words_and_leaves_out_what_was_ruled_out(
    tools: dict[str, BaseTool],
) -> None:
    unknown = call(tools["search_text"], words="zzzzqq")
    assert unknown["unknown"] == ["zzzzqq"]
    assert unknown["items"]
    call(tools["give_feedback"], stance="never", value="rubber")
    shown = {"search_text": {"words": "a ball"}, "search_picture": {"picture_base64": png()}}
    for name, given in shown.items():
        found = call(tools[name], **given, count=8)
        assert {"i6", "i8"}.isdisjoint(each["item_id"] for each in found["items"])
        assert found.get("unknown", []) == []
    call(tools["undo_feedback"])


FAILING = [
    ("item_details", {"item_id": "i404"}, WrongCall, "no item has the id 'i404'"),
    ("recommend", {"k": 500}, WrongCall, "ask for 1 to 50"),
    ("recommend", {"min_price": 9, "max_price": 1}, WrongCall, "swap them"),
    ("recommend", {"min_price": -1}, WrongCall, "min_price is -1"),
    ("search_picture", {"picture_base64": "no"}, WrongCall, "not base64"),
    ("search_picture", {"picture_base64": NO_PICTURE}, WrongCall, "picture"),
    ("recommend", {"having": ["gold"]}, CannotDo, "no item here is gold"),
    ("give_feedback", {"stance": "more", "value": "gold"}, CannotDo, "no item here is 'gold'"),
    ("search_text", {"words": "red", "count": 101}, WrongCall, "ask for 1 to 100 items"),
    ("similar_items", {"item_id": "i1", "count": 0}, WrongCall, "ask for 1 to 100 items"),
    ("user_history", {"count": 1_000_000}, WrongCall, "ask for 1 to 100 items"),
    ("add_to_history", {"item_id": "i8", "rating": 99}, WrongCall, "rating is 99.0: give 1 to 5"),
    ("add_to_history", {"item_id": "i404"}, WrongCall, "no item has the id 'i404'"),
    ("remove_from_history", {"item_id": "i8"}, CannotDo, "is not in your history"),
    ("give_item_feedback", {"stance": "more", "item_id": "x"}, WrongCall, "no item has the id"),
    ("undo_feedback", {}, CannotDo, "no wish to take back"),
]
OFF_THE_SCHEMA = [
    ("recommend", {"k": "many"}, "k is 'many': it should be a whole number"),
    ("item_details", {}, "item_id: missing, give it"),
    ("undo_feedback", {"id": 1}, "id: not known, leave it out"),
    ("user_history", {"k": 3}, "k: not known, leave it out"),
]
Arguments = dict[str, Any]


@pytest.mark.parametrize(("name", "arguments", "kind", "message"), FAILING)
def test_an_agent_is_told_which_kind_of_failure_it_is_and_why(
    tools: dict[str, BaseTool],
    name: str,
    arguments: Arguments,
    kind: type[ToolError],
    message: str,
) -> None:
    said = call(tools[name], **arguments)
    assert said.startswith("wrong call: " if kind is WrongCall else "cannot do: ")
    assert message in said


def test_what_is_wrong_is_said_in_our_words_alone(tools: dict[str, BaseTool]) -> None:
    said = call(tools["recommend"], min_price=9, max_price=1)
    assert said == "wrong call: min_price 9.0 is above max_price 1.0: swap them"


@pytest.mark.parametrize(("name", "arguments", "message"), OFF_THE_SCHEMA)
def test_arguments_off_the_schema_are_a_wrong_call(
    tools: dict[str, BaseTool], name: str, arguments: Arguments, message: str
) -> None:
    assert call(tools[name], **arguments).startswith(f"wrong call: {message}")


@pytest.mark.parametrize(("name", "arguments", "kind", "message"), FAILING)
def test_a_langchain_program_can_have_the_failure_raised(
    srec: Recommender, name: str, arguments: Arguments, kind: type[ToolError], message: str
) -> None:
    [tool] = [each for each in langchain_tools(srec, "ben") if each.name == name]
    tool.handle_tool_error = False
    with pytest.raises(kind, match=message) as failed:
        call(tool, **arguments)
    assert isinstance(failed.value, ToolException)


def test_a_model_that_is_gone_cannot_do_it_whatever_the_call(tmp_path: Path) -> None:
    class Lost(ScriptedEngine):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if texts[0] != "dimension":
                raise EngineLost("the engine is gone: start it again")
            return super().embed(texts)

    with deploy(tmp_path / "home", Lost()) as deployment:
        tools = {tool.name: tool for tool in langchain_tools(Recommender(deployment), "ben")}
        said = call(tools["search_text"], words="a red kite")
    assert said == "cannot do: the engine is gone: start it again"


def test_an_mcp_client_lists_and_calls_the_tools(srec: Recommender) -> None:
    async def talk() -> tuple[set[str], Any]:
        async with Client(build_server(srec, "ben")) as client:
            listed = await client.list_tools()
            found = await client.call_tool("recommend", {"k": 2})
            return {tool.name for tool in listed.tools}, found

    names, found = asyncio.run(talk())
    assert names == TOOLS
    assert not found.is_error
    assert len(found.structured_content["items"]) == 2


def over_mcp(srec: Recommender, name: str, arguments: Arguments) -> Any:
    async def talk() -> Any:
        async with Client(build_server(srec, "ben")) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"),
    [*FAILING, *((name, given, WrongCall, why) for name, given, why in OFF_THE_SCHEMA)],
)
def test_an_mcp_client_is_told_the_kind_in_words_and_as_a_field(
    srec: Recommender, name: str, arguments: Arguments, kind: type[ToolError], message: str
) -> None:
    failed = over_mcp(srec, name, arguments)
    assert failed.is_error
    told = failed.structured_content
    assert told["failure"] == kind.kind
    assert message in told["message"]
    assert failed.content[0].text == f"{kind.kind.replace('_', ' ')}: {told['message']}"


def test_requests_to_the_engine_stay_out_of_the_clients_log(srec: Recommender) -> None:
    assert build_server(srec, "ben").settings.log_level == "WARNING"


def test_a_tool_that_there_is_not_is_a_wrong_call(srec: Recommender) -> None:
    assert over_mcp(srec, "buy", {}).structured_content["failure"] == "wrong_call"


def test_a_bug_is_no_failure_of_a_call_and_shows_nothing_of_the_inside(tmp_path: Path) -> None:
    def broken(prompt: Prompt) -> str:
        raise ZeroDivisionError("inside")

    with deploy(tmp_path / "home", ScriptedEngine(answer=broken)) as deployment:
        failed = over_mcp(Recommender(deployment), "search_picture", {"picture_base64": png()})
    assert failed.is_error
    assert failed.structured_content is None
    assert "inside" not in failed.content[0].text
