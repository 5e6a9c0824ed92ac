"""A picture in the place of a history: fused as an item, and then through the chain as usual."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.events import Recommended
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.replay import fork, replay
from mllm_srec.agent.inspection.summary import asked
from mllm_srec.agent.inspection.view import trace_tree
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.results import Recommendation
from mllm_srec.agent.state import YOUR_PICTURE
from mllm_srec.agent.terminal.item_pictures import home_pictures
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.load import Loaded
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.errors import BadPicture
from mllm_srec.store.pictures import MAX_BYTES
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.errors import WrongCall
from tests.agent.commands import Srec
from tests.agent.conversation.talk import answering
from tests.agent.shop import COLOURS, ITEMS, deploy, score

RED = {"i1", "i2", "i3"}


def photo(colour: str = "red") -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (60, 50), COLOURS[colour]).save(picture, "PNG")
    return picture.getvalue()


def answer(prompt: Prompt) -> str:
    """The rules of the shop; of a window with the picture alone they find nothing to say."""
    text = prompt.messages[1].text
    if text.startswith("Update what") and "- liked, 0 items ago: toy: red\n" in text:
        return compact({"strong": ["red", "toy"]})
    return answering()(prompt)


def engine() -> ScriptedEngine:
    return ScriptedEngine(answer=answer, score=score)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with deploy(tmp_path / "home", engine()) as opened:
        fuse_missing(opened)
        yield opened


@pytest.fixture
def srec_(deployment: Deployment) -> Recommender:
    return Recommender(deployment)


@pytest.fixture
def store(deployment: Deployment) -> Iterator[TraceStore]:
    path = deployment.home.traces_file
    with TraceStore.open(path, create=False) as opened:
        yield opened


def check(result: Recommendation) -> None:
    [entry] = result.history
    assert (entry.item_id, entry.title, entry.line) == (YOUR_PICTURE, "Your picture", "toy: red")
    assert "red" in result.preference
    assert {item.item_id for item in result.items} == RED
    assert all(item.evidence == (YOUR_PICTURE,) for item in result.items)
    assert result.fallbacks == 0


def test_a_picture_alone_is_the_history_and_the_evidence(srec_: Recommender) -> None:
    result = srec_.recommend("guest", k=3, picture=photo())
    check(result)
    # Its vector is looked near to, besides the preference that was read from it.
    assert all("recent" in item.sources for item in result.items)
    assert result.path[:2] == ("load_user", "fuse_items")
    assert any("only a few" in note for note in result.notes)


def test_it_takes_the_place_of_what_is_stored_of_a_user(srec_: Recommender) -> None:
    srec_.feedback("mia", "never", "red")
    check(srec_.recommend("mia", k=3, picture=photo()))


def test_it_goes_with_the_user_who_gave_it(srec_: Recommender) -> None:
    srec_.recommend("guest", k=1, picture=photo())
    [kept] = srec_.deployment.home.pictures.given_by("guest")
    srec_.delete_user("guest")
    assert kept not in srec_.deployment.home.pictures


def test_it_is_the_latest_like_of_a_given_history(srec_: Recommender) -> None:
    result = srec_.recommend("guest", k=3, history=["i7", "i5"], picture=photo())
    assert [entry.item_id for entry in result.history] == ["i7", "i5", YOUR_PICTURE]
    cited = {each for item in result.items for each in item.evidence}
    assert YOUR_PICTURE in cited <= {"i7", "i5", YOUR_PICTURE}
    assert {item.item_id for item in result.items} <= set(ITEMS)


def test_every_form_of_the_call_takes_one(srec_: Recommender) -> None:
    async def last() -> object:
        events = [event async for event in srec_.astream("guest", 3, picture=photo())]
        return events[-1]

    check(asyncio.run(srec_.arecommend("guest", 3, picture=photo())))
    check(srec_.recommend_many([Request.of("guest", picture=photo())], 3)[0])
    for event in (list(srec_.stream("guest", 3, picture=photo()))[-1], asyncio.run(last())):
        assert isinstance(event, Recommended)
        check(event.result)


def test_the_catalogue_and_its_vectors_stay_as_they_were(
    srec_: Recommender, deployment: Deployment
) -> None:
    srec_.recommend("guest", k=3, picture=photo("blue"))
    catalogue = deployment.home.catalogue
    assert set(catalogue.item_ids()) == set(catalogue.representations()) == set(ITEMS)
    assert deployment.home.representations.status().count == len(ITEMS)
    assert "guest" not in catalogue.user_ids()


def test_what_is_no_picture_is_refused_and_its_name_is_no_item(srec_: Recommender) -> None:
    with pytest.raises(BadPicture, match="not a JPEG"):
        srec_.recommend("guest", picture=b"no picture")
    with pytest.raises(WrongCall, match="your picture"):
        srec_.recommend("guest", history=[YOUR_PICTURE])


def test_the_trace_names_it_and_replays(
    srec_: Recommender, deployment: Deployment, store: TraceStore
) -> None:
    for _ in ("asked", "answered before"):
        spans = store.spans(srec_.recommend("guest", k=2, picture=photo()).trace_id)
        trace = load_trace(store, spans[0].trace_id)
        assert asked(trace.run) == "2 items, a history of 1 event, with a picture"
        assert replay(deployment, spans).changes == ()
        console = Console(width=160, color_system=None)
        with console.capture() as shown:
            console.print(trace_tree(trace))
        assert YOUR_PICTURE in shown.get()
    for step in ("summarize_preferences", "retrieve_candidates", "explain"):
        forked = fork(deployment, spans, step, edits={})
        assert load_trace(store, forked).run.output == trace.run.output
        assert replay(deployment, store.spans(forked)).changes == ()


def test_the_command_reads_the_file_and_shows_it(
    deployment: Deployment, tmp_path: Path, srec: Srec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mllm_srec.agent.deployment.load_engine", lambda *_, **__: Loaded(engine(), None)
    )
    home = ("--home", deployment.home.path)
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    done = srec("recommend", "--image", file, "-k", "3", "--json", *home)
    assert done.code == 0, done.err
    check(Recommendation.from_dict(json.loads(done.out)))
    assert "Your picture" in srec("recommend", "--image", file, *home).out
    shown = home_pictures(deployment.home, photo())(YOUR_PICTURE)
    assert shown is not None
    assert shown.size == (60, 50)
    for wrong in ((), ("mia", "--image", file)):
        assert srec("recommend", *wrong, *home).code == 2
    missing = srec("recommend", "--image", tmp_path / "gone.png", "--json", *home)
    assert (missing.code, missing.out) == (1, "")
    assert "gone.png': cannot be read" in missing.err
    with file.open("wb") as grown:
        grown.truncate(MAX_BYTES + 1)
    assert "photo.png': larger than 32 MiB" in srec("recommend", "--image", file, *home).err
