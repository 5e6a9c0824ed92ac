"""A bigger model as teacher: what it says is taught only where it leads to the right label."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mllm_srec.finetune.data.model_teacher import ModelTeacher
from mllm_srec.finetune.data.records import AnyRecord, Record, RecordGroup, read_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.write import write_data
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.pictures import PictureBudget
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from tests.agent.shop import answer, fill, score

Score = Callable[[Prompt, object], Mapping[str, float]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home", create=True) as opened:
        fill(opened)
        yield opened


def teach(
    home: Home, out: Path, answer: Callable[[Prompt], str] = answer, score: Score = score
) -> tuple[ModelTeacher, list[AnyRecord]]:
    teacher = ModelTeacher(ScriptedEngine(answer=answer, score=score), PictureBudget(96))
    write_data(home, None, out, DataSettings(messages=0, validation_share=0.0), teacher=teacher)
    return teacher, list(read_records(out / "train.jsonl"))


def says_yes_to(word: str) -> Score:
    def score(prompt: Prompt, labels: object) -> Mapping[str, float]:
        item = prompt.messages[1].text.rpartition("Item: ")[2]
        return {"Yes": -0.1, "No": -2.3} if word in item else {"Yes": -2.3, "No": -0.1}

    return score


def of_task(records: list[AnyRecord], task: str) -> list[Record]:
    return [r for r in records if isinstance(r, Record) and r.task == task]


def test_every_step_is_taught_in_the_words_of_the_teacher(home: Home, tmp_path: Path) -> None:
    teacher, records = teach(home, tmp_path / "sft")
    assert teacher.kept == teacher.asked == 5
    assert {record.task for record in records} == {
        "look", "fuse", "summarize_preferences", "profile_user", "score_target", "explain"
    }  # fmt: skip
    for record in of_task(records, "profile_user"):
        assert json.loads(record.completion[0].text) == {
            "loves": json.loads(answer(_prompt(record)))["loves"],
            "likes": [],
            "leans": [],
            "dislikes": [],
        }


def _prompt(record: Record) -> Prompt:
    from mllm_srec.llm.engine import Message  # noqa: PLC0415

    return Prompt(tuple(Message(turn.role, turn.text) for turn in record.prompt))


def test_only_chains_that_lead_to_the_right_label_are_kept(home: Home, tmp_path: Path) -> None:
    teacher, records = teach(home, tmp_path / "sft", score=says_yes_to("kite"))
    # Mia alone went from the rattle to the kite.
    assert (teacher.kept, teacher.asked) == (1, 5)
    [group] = [record for record in records if isinstance(record, RecordGroup)]
    assert group.branches[0].label == "Yes"
    assert "kite" in group.branches[0].suffix
    assert len(of_task(records, "profile_user")) == 1
    origins = json.loads((tmp_path / "sft" / "origins.json").read_text())["train"]
    assert {origin for origin in origins if origin.startswith("user:")} == {"user:mia"}


@pytest.mark.parametrize("word", ["", "no such item"], ids=["always yes", "never yes"])
def test_a_teacher_that_tells_nothing_apart_is_refused(
    home: Home, tmp_path: Path, word: str
) -> None:
    with pytest.raises(FinetuneError, match=r"none of .* chains of 'scripted' led to the right"):
        teach(home, tmp_path / "sft", score=says_yes_to(word))
    assert not list((tmp_path / "sft").iterdir())


def test_a_teacher_that_answers_nonsense_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(FinetuneError, match="take a better model"):
        teach(home, tmp_path / "sft", answer=lambda prompt: "I like turtles.")


def test_one_nonsense_answer_costs_what_rests_on_it(home: Home, tmp_path: Path) -> None:
    def odd(prompt: Prompt) -> str:
        return '{"what":"turtle"}' if "Fine drum" in prompt.messages[1].text else answer(prompt)

    _, records = teach(home, tmp_path / "sft", answer=odd)
    assert len(of_task(records, "look")) == 8
    assert len(of_task(records, "fuse")) == 7
    assert not any("drum" in record.model_dump_json() for record in records)
