"""Calls of tools by other agents: each is a run, with what the tool asked below it."""

import asyncio
import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.sections import shown
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.toolbox import Toolbox
from mllm_srec.store.spans import Span
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.errors import WrongCall
from tests.agent.conversation.talk import engine
from tests.agent.shop import deploy


@pytest.fixture(scope="module")
def srec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with deploy(tmp_path_factory.mktemp("tools") / "home", engine()) as deployment:
        fuse_missing(deployment)
        yield Recommender(deployment)


@pytest.fixture(scope="module")
def store(srec: Recommender) -> Iterator[TraceStore]:
    with TraceStore.open(srec.deployment.home.traces_file) as opened:
        yield opened


def call(srec: Recommender, tool: str, **arguments: Any) -> dict[str, Any]:
    named = {each.__name__: each for each in Toolbox(srec, "ben", origin="a test").functions()}
    return asyncio.run(named[tool](**arguments))


def last(store: TraceStore) -> tuple[TraceRecord, list[Span]]:
    trace_id = store.recent(1)[0].trace_id
    return load_trace(store, trace_id), store.spans(trace_id)


def test_a_tool_call_is_recorded_with_its_arguments_its_result_and_its_stores(
    srec: Recommender, store: TraceStore
) -> None:
    found = call(srec, "search_text", words="blue train")
    trace, spans = last(store)
    assert (trace.run.name, trace.run.user) == ("tool search_text", "ben")
    [node] = trace.nodes
    assert (node.input, node.output) == ({"words": "blue train"}, found)
    assert [each.kind for each in node.calls] == ["embed"]
    assert node.stores["Chroma"][0] == 1
    [search] = node.searches
    best = {each["item_id"]: each["similarity"] for each in found["items"]}
    assert (search.source, search.found, len(search.best)) == ("Chroma", 8, 3)
    assert search.best == {each: pytest.approx(best[each], abs=1e-4) for each in search.best}
    assert "Sources" in [each["title"] for each in shown(trace)["nodes"][0]["sections"]]
    [span] = [each for each in spans if each.kind == "TOOL"]
    assert span.attributes["tool.name"] == "search_text"
    assert len(find(store, TraceFilter(node="search_text"))) == 1


def test_a_recommendation_by_a_tool_is_one_trace(srec: Recommender, store: TraceStore) -> None:
    found = call(srec, "recommend", k=2)
    trace, _ = last(store)
    assert found["trace_id"] == trace.run.trace_id
    assert trace.run.path[:2] == ("recommend", "load_user")
    assert [node.depth for node in trace.nodes if node.name in ("recommend", "explain")] == [1, 2]


def test_a_call_that_fails_is_listed_as_failed(srec: Recommender, store: TraceStore) -> None:
    with pytest.raises(WrongCall):
        call(srec, "item_details", item_id="i404")
    [root] = find(store, TraceFilter(failed=True))
    assert "no item has the id 'i404'" in root.message


def test_a_picture_is_no_argument_of_a_trace(srec: Recommender, store: TraceStore) -> None:
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(picture, "PNG")
    sent = base64.b64encode(picture.getvalue()).decode()
    call(srec, "search_picture", picture_base64=sent)
    trace, spans = last(store)
    assert trace.nodes[0].input == {"picture_base64": f"<{len(sent)} characters>"}
    assert sent not in repr(spans)
