import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean
from typing import get_args

import pytest

from mllm_srec.agent.conversation.intents import (
    Intent,
    Understood,
    check_understood,
    heard,
    said_spans,
)
from mllm_srec.agent.conversation.reading import Reading, small
from mllm_srec.agent.dispatch import AsyncEngine
from mllm_srec.finetune.data.message_records import message_records
from mllm_srec.finetune.data.phrasings import (
    FIELDS,
    Group,
    Part,
    expand,
    held_out,
    own_words,
    phrasings,
)
from mllm_srec.finetune.data.records import turns
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.slot_fillers import Filler
from mllm_srec.finetune.data.slot_words import plural, slot_words
from mllm_srec.finetune.data.spoken import slip
from mllm_srec.finetune.data.utterances import Utterance, utterances
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.understanding import (
    Understanding,
    hand_written,
    held_out_phrasings,
    measure,
)
from mllm_srec.llm.scripted import ScriptedEngine

HAND_WRITTEN = Path(__file__).parents[2] / "agent/conversation/hand_written.jsonl"
FRESH = HAND_WRITTEN.with_name("hand_written_fresh.jsonl")
"""By two hands that never saw the grammar, nor did the grammar see them."""
INTENTS = set(get_args(Intent))


def measured(engine: ScriptedEngine, cases: Sequence[Utterance]) -> Understanding:
    with closing(AsyncEngine(engine)) as calls:
        return asyncio.run(measure(calls, cases))


def all_groups() -> tuple[Group, ...]:
    return phrasings().talk + phrasings().answers


def by_intent(part: Part) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for group in all_groups():
        for frame in group.of_part(part):
            found[group.intent].update(frame)
    return found


def test_a_frame_is_expanded_to_all_its_phrasings() -> None:
    parts = {"say": "(tell|show)", "me": "(me |)"}
    expected = ("tell me {item}", "tell {item}", "show me {item}", "show {item}")
    assert expand("{say} {me}{item}", parts) == expected
    assert expand("(a|b (c|d)|a)", {}) == ("a", "b c", "b d")


def test_what_is_held_out_hangs_on_words_and_fields_alone() -> None:
    same = "more like {item}", "more, like {item}!"
    assert len({held_out(each) for each in same}) == 1
    groups = all_groups()
    for value, field in FIELDS.items():
        for frame in (each for group in groups for each in group.frames[:3]):
            plain = frame[0].replace(f"{{{value}}}", f"{{{field}}}")
            assert held_out(frame[0]) == held_out(plain)
    assert not held_out("{item}")


def test_every_intent_has_many_phrasings_and_a_fifth_of_them_measures() -> None:
    train, measured = by_intent("train"), by_intent("held_out")
    assert set(train) == set(measured) == set(phrasings().shares) == INTENTS
    counts = {intent: len(train[intent] | measured[intent]) for intent in INTENTS}
    assert min(counts.values()) >= 100
    assert sum(counts.values()) >= 2_500
    for intent in INTENTS:
        assert 0.15 < len(measured[intent]) / counts[intent] < 0.25


def test_words_of_a_phrasing_that_measures_stand_in_training_phrasings_of_its_intent() -> None:
    train, measured = by_intent("train"), by_intent("held_out")
    shares = {}
    for intent in INTENTS:
        known = {word for phrasing in train[intent] for word in own_words(phrasing)}
        words = [own_words(phrasing) for phrasing in measured[intent]]
        shares[intent] = [mean(word in known for word in each) for each in words]
    assert mean(share for each in shares.values() for share in each) >= 0.97
    assert min(mean(each) for each in shares.values()) >= 0.95


def test_no_phrasing_means_two_things_after_the_same() -> None:
    meanings = defaultdict(set)
    for group in all_groups():
        for phrasing in (each for frame in group.frames for each in frame):
            key = re.sub(r"\{(\w+)\}", lambda m: f"{{{FIELDS.get(m[1], m[1])}}}", phrasing)
            for before in group.before:
                meaning = (group.intent, tuple(group.fixed.items()))
                meanings[key.replace("{tail}", ""), before].add(meaning)
    assert [key for key, meant in meanings.items() if len(meant) > 1] == []


def test_every_slot_can_be_filled() -> None:
    fill, drawn = Filler(random.Random(0)), phrasings().drawn
    every = {each for group in all_groups() for frame in group.frames for each in frame}
    every |= {each for texts in drawn.values() for each in texts}
    slots = {slot for each in every for slot in re.findall(r"\{(\w+)\}", each)} - set(drawn)
    assert all(fill(slot) for slot in slots)


def test_the_same_seed_gives_the_same_examples() -> None:
    first, second = (list(utterances(200, seed=3, part="train")) for _ in range(2))
    assert first == second
    assert first != list(utterances(200, seed=4, part="train"))


def test_every_answer_holds_against_its_message() -> None:
    for part in ("train", "held_out"):
        for each in utterances(2_000, seed=1, part=part):
            assert each.said == heard(each.said)
            assert check_understood(each.answer, each.said) == each.understood


def test_every_copied_word_can_be_copied_when_serving() -> None:
    for each in utterances(2_000, seed=5, part="train"):
        read = [Reading.of(span).text for span in each.understood.spans()]
        assert set(read) <= set(said_spans(Reading.of(each.said).text))


def test_idle_talk_and_departments_are_words_of_no_other_list() -> None:
    lists = {name: {each.casefold() for each in words} for name, words in slot_words().items()}
    wishes = (
        "colours", "patterns", "styles", "materials", "attributes", "graded", "themes", "parts",
        "brands", "occasions", "recipients", "uses",
    )  # fmt: skip
    goods = lists["pairs"] | lists["stuff"] | lists["products"]
    goods |= set(map(plural, lists["products"]))
    told = goods.union(*(lists[name] for name in wishes))
    for name in ("junk", "gibberish", "departments"):
        assert not lists[name] & told
    assert not lists["junk"] & (lists["gibberish"] | lists["departments"] | lists["names"])
    assert len(set().union(*lists.values())) >= 2_000


def test_several_of_a_thing_are_named_as_people_do() -> None:
    named = {
        "kite": "kites", "puppy": "puppies", "toy": "toys", "blocks": "blocks", "watch": "watches",
        "bookshelf": "bookshelves", "bread knife": "bread knives", "scarf": "scarves",
        "chest of drawers": "chests of drawers", "brush": "brushes",
    }  # fmt: skip
    assert {each: plural(each) for each in named} == named


def test_a_slip_leaves_slots_and_short_words_alone() -> None:
    rng = random.Random(0)
    assert {slip("a 12 of it, ok", rng) for _ in range(50)} == {"a 12 of it, ok"}
    slipped = {slip("show the green kites", rng) for _ in range(300)}
    assert "showthe green kites" in slipped
    assert len(slipped) > 40
    assert all(abs(len(each) - 20) <= 5 for each in slipped)


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


@pytest.mark.parametrize("path", [HAND_WRITTEN, FRESH], ids=lambda path: path.stem)
def test_the_hand_written_lines_are_valid_many_and_of_every_intent(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(lines) >= 200
    for line in lines:
        understood = Understood.model_validate(line["understood"])
        copied = check_understood(understood.compact, heard(line["said"]))
        assert small(copied.compact) == small(understood.compact)
    assert {line["understood"]["intent"] for line in lines} == INTENTS
    assert len({(line["before"], line["said"]) for line in lines}) == len(lines)


@pytest.mark.parametrize("path", [HAND_WRITTEN, FRESH], ids=lambda path: path.stem)
def test_few_hand_written_lines_are_word_for_word_phrasings_to_train_on(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    said = {line["said"].casefold() for line in lines}
    frames = (frame for group in phrasings().talk for frame in group.of_part("train"))
    bare = {phrasing for frame in frames for phrasing in frame if "{" not in phrasing}
    # Short ones (`help`, `hi`) are the same in any language book.
    assert len(said & bare) <= 0.08 * len(lines)


def test_a_model_that_answers_as_taught_is_measured_as_perfect() -> None:
    cases = [*held_out_phrasings(100), *hand_written(HAND_WRITTEN)]
    answers = {case.prompt: case.answer for case in cases}
    # The same words may mean two things in the grammar; what was taught last is the key here.
    kept = [case for case in cases if answers[case.prompt] == case.answer]
    found = measured(ScriptedEngine(answer=lambda prompt: answers[prompt]), kept)
    assert (found.intent_accuracy, found.slot_f1, found.invalid_answers) == (1.0, 1.0, 0)
    assert (found.wrong_actions, found.wrongly_unsure) == (0, 0)


def messages(path: Path, *lines: str) -> list[Utterance]:
    path.write_text("\n".join(lines), "utf-8")
    return hand_written(path)


LINE = '{"before": "nothing", "said": "show\u2028me toys", "understood": {"intent": "help"}}'


def test_blank_lines_and_line_ends_inside_a_message_break_no_file(tmp_path: Path) -> None:
    [found] = messages(tmp_path / "said.jsonl", LINE, "", "")
    assert (found.said, found.understood.intent) == ("show me toys", "help")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"before": "nothing"', "line 2: .*: write an object"),
        ("[1]", "line 2: it should be an object: "),
        (LINE.replace('"nothing"', "7"), "line 2: before is 7: "),
        (LINE.replace('"help"', '"dance"'), "line 2: understood.intent is 'dance': "),
    ],
)
def test_a_broken_message_is_named_by_line_and_field(
    tmp_path: Path, line: str, problem: str
) -> None:
    with pytest.raises(FinetuneError, match=problem):
        messages(tmp_path / "said.jsonl", LINE, line)
    with pytest.raises(FinetuneError, match="no messages in"):
        messages(tmp_path / "said.jsonl", "", " ")


def test_what_was_not_said_counts_as_an_answer_that_cannot_be_used() -> None:
    cases = hand_written(HAND_WRITTEN)
    invented = ScriptedEngine(answer=lambda prompt: '{"intent":"why","item":"i999"}')
    found = measured(invented, cases)
    others = sum(case.understood.intent == "other" for case in cases)
    assert found.invalid_answers == len(cases)
    assert found.intent_accuracy == others / len(cases)
    assert found.slot_f1 == 0.0
    # An answer that cannot be used ends in a question.
    assert (found.wrong_actions, found.wrongly_unsure) == (0, len(cases) - others)


def test_a_wrong_action_is_told_from_a_needless_question() -> None:
    said = {"undo": "undo", "what did I get": "other", "help": "other", "hm": "undo"}
    meant: dict[str, Intent] = {"undo": "undo", "what did I get": "history", "hm": "other"}
    cases = [
        Utterance("nothing", text, Understood(intent=meant.get(text, "help")), "by hand")
        for text in said
    ]
    answers = {case.prompt: f'{{"intent":"{said[case.said]}"}}' for case in cases}
    found = measured(ScriptedEngine(answer=lambda prompt: answers[prompt]), cases)
    assert found.to_dict() == {
        "messages": 4,
        "intent_accuracy": 0.25,
        "slot_f1": 1.0,
        "invalid_answers": 0,
        "wrong_actions": 1,
        "wrongly_unsure": 2,
    }


def test_records_ask_what_serving_asks_and_share_the_instructions() -> None:
    settings = DataSettings(messages=40, seed=2)
    said = list(utterances(40, seed=2, part="train"))
    groups = list(message_records(settings))
    assert [origin for origin, _ in groups] == ["messages:0", "messages:1", "messages:2"]
    records = [record for _, group in groups for record in group.expand()]
    assert [record.prompt for record in records] == [turns(each.prompt) for each in said]
    assert [record.completion[0].text for record in records] == [each.answer for each in said]
    [shared] = {group.prompt for _, group in groups}
    assert "Answer in JSON" in shared[-1].text
