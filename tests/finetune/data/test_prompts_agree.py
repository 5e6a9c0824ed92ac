"""A training prompt is the serving prompt, byte for byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.fuse_items import VisualAnswer
from mllm_srec.agent.nodes.load_user import events
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.records import Record, Turn, turns
from mllm_srec.finetune.data.teacher import Annotation, Historian, fuse_record, look_record
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.records import FusedItem, Item
from tests.agent.shop import COLOURS, ITEMS, LOG, answer, deploy, score

USER, K = "mia", 2
LENGTH = len(LOG[USER])


def reads_and_is_silent_on_users(prompt: Prompt) -> str:
    """Describe items; leave users to the counted forms, which are what the teacher teaches."""
    about_items = prompt.messages[1].text.startswith(("What does the picture", "Merge"))
    return answer(prompt) if about_items else "no"


@dataclass
class Served:
    """What serving asked along one history, and the records that training makes of it."""

    engine: ScriptedEngine
    items: dict[str, Item]
    fused: dict[str, FusedItem]
    historian: Historian
    recommended: list[str]

    def asked(self, beginning: str) -> list[tuple[Turn, ...]]:
        """Prompts of one step in the order of asking, repairs left out."""
        return [
            turns(prompt)
            for prompt in self.engine.generated
            if prompt.messages[1].text.startswith(beginning) and len(prompt.messages) == 2
        ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = ScriptedEngine(answer=reads_and_is_silent_on_users, score=score)
    with deploy(tmp_path_factory.mktemp("served") / "home", engine) as deployment:
        assert fuse_missing(deployment) == (len(ITEMS), 0)
        recommended = Recommender(deployment).recommend(USER, k=K).items
        catalogue = deployment.home.catalogue
        fused = {key: entry.fused for key, entry in catalogue.representations().items()}
        history = events(catalogue.history(USER), Settings())
        yield Served(
            engine,
            catalogue.items(),
            fused,
            Historian(history, fused, Settings()),
            [item.item_id for item in recommended],
        )


def look(item_id: str) -> VisualAnswer:
    colour = ITEMS[item_id][1]
    assert colour in COLOURS
    return VisualAnswer(what="toy", seen={"colour": colour})


def test_look(served: Served) -> None:
    [prompt] = set(served.asked("What does the picture show?"))
    for item_id in ITEMS:
        record = look_record(
            served.items[item_id], Annotation(look(item_id), served.fused[item_id])
        )
        assert record is not None
        assert record.prompt == prompt
        assert record.completion[0].text == look(item_id).text


def test_fuse(served: Served) -> None:
    asked = served.asked("Merge")
    assert len(asked) == len(ITEMS)
    for item_id, prompt in zip(ITEMS, asked, strict=True):
        annotation = Annotation(look(item_id), served.fused[item_id])
        record = fuse_record(served.items[item_id], annotation)
        assert record.prompt == prompt
        assert FusedItem.model_validate_json(record.completion[0].text) == served.fused[item_id]


def test_summarize_preferences(served: Served) -> None:
    records = [served.historian.window_record(stop) for stop in (5, LENGTH)]
    assert [record.prompt for record in records] == served.asked("Update what")


def test_profile_user(served: Served) -> None:
    record = served.historian.profile_record(LENGTH)
    assert [record.prompt] == served.asked("Describe the stable taste")


def test_explain(served: Served) -> None:
    assert len(served.recommended) == K
    records = [
        served.historian.explain_record(LENGTH, served.fused[item_id])
        for item_id in served.recommended
    ]
    assert [record.prompt for record in records] == served.asked("Say in one sentence")


@pytest.mark.parametrize("stop", [1, 5, LENGTH - 1])
def test_score_target(tmp_path: Path, served: Served, stop: int) -> None:
    coming = served.historian.events[stop]["timestamp"]
    engine = ScriptedEngine(answer=reads_and_is_silent_on_users, score=score)
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        Recommender(deployment).rank_many([Request(USER, as_of=stop, now=coming)])
    seen = {event["item_id"] for event in served.historian.events[:stop]}
    unseen = [item_id for item_id in ITEMS if item_id not in seen]
    group = served.historian.score_group(stop, unseen[:1], unseen[1:])
    taught = [record.prompt for record in group.expand()]
    assert len(taught) == len(unseen)
    assert sorted(map(as_text, taught)) == sorted(as_text(turns(p)) for p in engine.scored)


def as_text(prompt: tuple[Turn, ...]) -> str:
    return "\0".join(f"{turn.role}\0{turn.pictures}\0{turn.text}" for turn in prompt)


def test_a_record_survives_its_file_as_the_same_prompt(served: Served) -> None:
    record = served.historian.profile_record(LENGTH)
    assert Record.model_validate_json(record.model_dump_json()).prompt == record.prompt
