import json
from collections import Counter
from pathlib import Path
from typing import get_args

from mllm_srec.agent.conversation.intents import Intent, Understood, check_understood, heard
from mllm_srec.finetune.phrasings import phrasings
from mllm_srec.finetune.understanding import hand_written, held_out_phrasings, measure
from mllm_srec.finetune.utterances import utterances
from mllm_srec.llm.scripted import ScriptedEngine

HAND_WRITTEN = Path(__file__).parents[1] / "agent/conversation/hand_written.jsonl"
INTENTS = set(get_args(Intent))


def test_the_same_seed_gives_the_same_examples() -> None:
    first, second = (list(utterances(200, seed=3, part="train")) for _ in range(2))
    assert first == second
    assert first != list(utterances(200, seed=4, part="train"))


def test_every_answer_holds_against_its_message() -> None:
    for part in ("train", "held_out"):
        for each in utterances(2_000, seed=1, part=part):
            assert each.said == heard(each.said)
            assert check_understood(each.answer, each.said) == each.understood


def test_training_never_sees_a_phrasing_that_measures() -> None:
    train = {each.phrasing for each in utterances(5_000, seed=1, part="train")}
    measured = {each.phrasing for each in utterances(5_000, seed=1, part="held_out")}
    assert train
    assert measured
    assert not train & measured


def test_both_parts_have_every_intent() -> None:
    for part in ("train", "held_out"):
        counts = Counter(each.understood.intent for each in utterances(3_000, seed=1, part=part))
        assert set(counts) == INTENTS


def test_the_hand_written_lines_are_valid_many_and_of_every_intent() -> None:
    lines = [json.loads(line) for line in HAND_WRITTEN.read_text("utf-8").splitlines()]
    assert len(lines) >= 200
    for line in lines:
        understood = Understood.model_validate(line["understood"])
        assert check_understood(understood.compact, heard(line["said"])) == understood
    assert {line["understood"]["intent"] for line in lines} == INTENTS
    assert len({(line["before"], line["said"]) for line in lines}) == len(lines)


def test_no_hand_written_line_is_trained_on() -> None:
    lines = [json.loads(line) for line in HAND_WRITTEN.read_text("utf-8").splitlines()]
    frames = {frame for group in phrasings().talk for frame in group.frames if "{" not in frame}
    slang = {line["said"].casefold() for line in lines}
    # A few bare words (`help`, `hi`) are the same in any language book.
    assert len(slang & frames) <= 5


def test_a_model_that_answers_as_taught_is_measured_as_perfect() -> None:
    cases = [*held_out_phrasings(100), *hand_written(HAND_WRITTEN)]
    answers = {case.prompt: case.answer for case in cases}
    # The same words may mean two things in the grammar; what was taught last is the key here.
    kept = [case for case in cases if answers[case.prompt] == case.answer]
    found = measure(ScriptedEngine(answer=lambda prompt: answers[prompt]), kept)
    assert (found.intent_accuracy, found.slot_f1, found.invalid_answers) == (1.0, 1.0, 0)


def test_what_was_not_said_counts_as_an_answer_that_cannot_be_used() -> None:
    cases = hand_written(HAND_WRITTEN)
    invented = ScriptedEngine(answer=lambda prompt: '{"intent":"why","item":"i999"}')
    found = measure(invented, cases)
    others = sum(case.understood.intent == "other" for case in cases)
    assert found.invalid_answers == len(cases)
    assert found.intent_accuracy == others / len(cases)
    assert found.slot_f1 == 0.0
