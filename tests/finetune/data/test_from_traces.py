"""Judged turns become records and preference pairs, as training and TRL read them."""

import errno
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from trl.data_utils import apply_chat_template, is_conversational

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.replay import fork
from mllm_srec.agent.recommender import Recommender
from mllm_srec.finetune.data.entries import read_entries
from mllm_srec.finetune.data.from_traces import PAIRS, TracesReport, write_traces
from mllm_srec.finetune.data.records import Record, RecordGroup
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.training.check import check_data
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.trace_notes import annotate
from mllm_srec.store.trace_retention import delete
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from tests.agent.shop import MODEL, answer, deploy, scripted


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
    return tmp_path / "home"


def recommend(home: Path, user: str = "mia", engine: ScriptedEngine | None = None) -> str:
    with deploy(home, engine or scripted()) as deployment:
        return Recommender(deployment).recommend(user, k=2).trace_id


def judge(home: Path, trace_id: str, verdict: Any) -> None:
    with TraceStore.open(home / "traces" / "traces.sqlite", create=False) as store:
        annotate(store, trace_id, verdict, "because")


def write(home: Path, out: Path) -> TracesReport:
    with Home.open(home) as opened:
        return write_traces(opened, out, seed=1)


def records(out: Path) -> list[Record]:
    entries, faults = read_entries(out)
    assert faults == []
    every = [entry.record for several in entries.values() for entry in several]
    return [
        record
        for each in every
        for record in (each.expand() if isinstance(each, RecordGroup) else [each])
    ]


def pairs(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / PAIRS).read_text("utf-8").splitlines()]


def better(say: Callable[[str], str]) -> ScriptedEngine:
    """Another model: what it says of the reasons differs."""

    def told(prompt: Prompt) -> str:
        text = answer(prompt)
        return say(text) if prompt.messages[1].text.startswith("Say") else text

    engine = scripted()
    info = replace(engine.info, model="better", model_hash="be" * 32)
    return ScriptedEngine(answer=told, score=engine.score, info=info)


def fork_of(home: Path, trace_id: str, engine: ScriptedEngine, **changed: Any) -> str:
    with (
        deploy(home, engine) as deployment,
        TraceStore.open(home / "traces" / "traces.sqlite") as store,
    ):
        return fork(deployment, store.spans(trace_id), "explain", edits={}, **changed)


def test_a_good_turn_teaches_its_answers_and_the_items_it_showed(
    home: Path, tmp_path: Path
) -> None:
    engine = scripted()
    judge(home, recommend(home, engine=engine), "good")
    judge(home, recommend(home, "ben"), "good")
    recommend(home, "ada")  # judged by nobody
    report = write(home, tmp_path / "sft")
    assert (report.good, report.bad, report.pairs) == (2, 0, 0)
    assert report.validation > 0
    assert report.left_out == {}
    made = records(tmp_path / "sft")
    # mia's two windows and profile are asked word for word as the product asks.
    asked = {prompt.messages[-1].text: answer(prompt) for prompt in engine.generated}
    taught = {record.prompt[-1].text: record.completion[0].text for record in made}
    assert asked.items() <= taught.items()
    scored = [record for record in made if record.task == "score_target"]
    assert len(scored) == 4  # two items shown to each of the two
    assert {record.completion[0].text for record in scored} == {"Yes"}
    recipe = Recipe(steps=1, shares={"score_target": 1.0})
    checked = check_data(tmp_path / "sft", _no_picture, MODEL, recipe)
    assert checked.faults == []
    assert len(checked.encoded["validation"]) == report.validation


def _no_picture(name: str) -> Any:
    raise AssertionError(f"no record has a picture, {name} was asked for")


def test_a_bad_turn_and_its_good_fork_are_a_pair(home: Path, tmp_path: Path) -> None:
    bad = recommend(home)
    good = fork_of(home, bad, better(lambda text: text.replace("suits you", "is yours")))
    judge(home, bad, "bad")
    judge(home, good, "good")
    report = write(home, tmp_path / "sft")
    assert (report.good, report.bad, report.pairs) == (1, 1, 2)
    assert report.tasks == {"explain": 2}
    for pair in pairs(tmp_path / "sft"):
        [chosen], [rejected] = pair["chosen"], pair["rejected"]
        assert "is yours" in chosen["content"][0]["text"]
        assert "suits you" in rejected["content"][0]["text"]
        assert pair["prompt"][-1]["content"][0]["text"].startswith("Say in one sentence")


def test_trl_reads_the_pairs(home: Path, tmp_path: Path) -> None:
    bad = recommend(home)
    judge(home, fork_of(home, bad, better(lambda text: text.replace("you", "them"))), "good")
    judge(home, bad, "bad")
    write(home, tmp_path / "sft")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for pair in pairs(tmp_path / "sft"):
        assert is_conversational(pair)
        text = apply_chat_template(pair, tokenizer)
        assert text["prompt"].endswith("Assistant:")
        assert text["chosen"].startswith('{"reason":"This ')
        assert "suits them" in text["chosen"]
        assert "suits you" in text["rejected"]


def test_a_fork_in_other_words_teaches_the_words_of_the_product(home: Path, tmp_path: Path) -> None:
    bad = recommend(home)
    words = ("Say in one sentence why", "Tell in one sentence why")

    def kinder(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        as_ever = replace(prompt.messages[1], text=text.replace(words[1], words[0]))
        said = answer(replace(prompt, messages=(prompt.messages[0], as_ever)))
        return said.replace("suits", "delights") if text.startswith("Tell") else said

    engine = ScriptedEngine(answer=kinder, score=scripted().score)
    judge(home, bad, "bad")
    good = fork_of(home, bad, engine, replacements=[words])
    judge(home, good, "good")
    report = write(home, tmp_path / "sft")
    assert (report.pairs, report.tasks, report.left_out) == (2, {"explain": 2}, {})
    made = records(tmp_path / "sft")
    assert all(each.prompt[-1].text.startswith("Say in one sentence why") for each in made)
    assert all("delights" in each.completion[0].text for each in made)
    with TraceStore.open(home / "traces" / "traces.sqlite") as store:
        delete(store, [bytes.fromhex(bad)])
    # Without its parent nobody knows how the product would have asked.
    with pytest.raises(FinetuneError, match="judge turns first"):
        write(home, tmp_path / "again")


def test_what_was_refused_and_repaired_is_a_pair(home: Path, tmp_path: Path) -> None:
    def clumsy(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        if text.startswith("Describe") and len(prompt.messages) == 2:
            return "I would say red."
        return answer(replace(prompt, messages=prompt.messages[:2]))

    engine = ScriptedEngine(answer=clumsy, score=scripted().score)
    judge(home, recommend(home, engine=engine), "good")
    report = write(home, tmp_path / "sft")
    [pair] = pairs(tmp_path / "sft")
    assert report.pairs == 1
    assert [turn["role"] for turn in pair["prompt"]] == ["system", "user"]
    assert pair["rejected"][0]["content"][0]["text"] == "I would say red."
    assert "loves" in pair["chosen"][0]["content"][0]["text"]
    taught = {record.completion[0].text for record in records(tmp_path / "sft")}
    assert "I would say red." not in taught


def test_a_repair_that_was_refused_too_is_not_taught(home: Path, tmp_path: Path) -> None:
    def hopeless(prompt: Prompt) -> str:
        text = prompt.messages[1].text
        return "red" if text.startswith("Describe") else answer(prompt)

    engine = ScriptedEngine(answer=hopeless, score=scripted().score)
    judge(home, recommend(home, engine=engine), "good")
    report = write(home, tmp_path / "sft")
    assert report.left_out == {"a repair that may have been refused, too": 1}
    assert "profile_user" not in report.tasks
    assert report.pairs == 0


def test_the_last_verdict_counts_and_contradictions_teach_nothing(
    home: Path, tmp_path: Path
) -> None:
    first, second = recommend(home), recommend(home)
    judge(home, first, "bad")
    judge(home, first, "note")
    judge(home, first, "good")
    report = write(home, tmp_path / "one")
    assert (report.good, report.bad) == (1, 0)
    judge(home, second, "bad")  # the very same answers and items
    with pytest.raises(FinetuneError, match="nothing to learn from"):
        write(home, tmp_path / "two")


def test_what_was_left_out_of_a_trace_is_counted(home: Path, tmp_path: Path) -> None:
    judge(home, recommend(home), "good")
    with TraceStore.open(home / "traces" / "traces.sqlite") as store:
        write_settings(store, TraceSettings(redact=frozenset({"text"})))
    judge(home, recommend(home, "ben"), "good")
    report = write(home, tmp_path / "sft")
    assert report.good == 2
    assert re.fullmatch(r"\{'redacted or lost': \d+\}", str(report.left_out))


def test_a_full_disk_leaves_what_the_folder_held(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(home, recommend(home), "good")
    out = tmp_path / "sft"
    write(home, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    written = Path.write_text

    def full(path: Path, *given: Any, **named: Any) -> int:
        if path.name == "pairs.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, *given, **named)

    monkeypatch.setattr(Path, "write_text", full)
    judge(home, recommend(home, "ben"), "good")
    with pytest.raises(StoreError, match="the disk is full"):
        write(home, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_nothing_judged_is_said_with_the_way_out(home: Path, tmp_path: Path) -> None:
    recommend(home)
    with pytest.raises(FinetuneError, match="srec trace annotate ID good"):
        write(home, tmp_path / "sft")
    assert not (tmp_path / "sft").exists()
