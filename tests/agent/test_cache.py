"""The same question to the same model is asked once."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mllm_srec.agent.cache import STORED, CachedCalls
from mllm_srec.agent.dispatch import AsyncEngine
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.engine import Answer, EngineLost, Message, Picture, Prompt
from mllm_srec.llm.pictures import PictureBudget, prepare
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.steps import StepCache

from .shop import deploy, scripted


def picture(colour: str) -> Picture:
    return prepare(Image.new("RGB", (32, 32), colour), PictureBudget())


def prompt(text: str, *pictures: Picture, system: str = "Be brief.") -> Prompt:
    return Prompt((Message("system", system), Message("user", text, pictures)))


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[StepCache]:
    cache = StepCache.open(f"sqlite:///{tmp_path / 'steps.sqlite'}")
    yield cache
    cache.close()


class Asker:
    """An engine behind the cache, as another process would have it."""

    def __init__(self, steps: StepCache, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.calls = CachedCalls(AsyncEngine(engine), steps)

    def generate(
        self, *prompts: Prompt, max_tokens: int = 20, schema: str | None = None
    ) -> list[Answer]:
        held = [replace(prompt, schema=schema) for prompt in prompts]
        return asyncio.run(self.calls.generate(held, max_tokens=max_tokens))

    def score(self, *prompts: Prompt, labels: tuple[str, ...] = ("Yes", "No")) -> list[float]:
        found = asyncio.run(self.calls.score_labels(prompts, labels))
        return [entry.logprobs["Yes"] for entry in found]


def echo() -> ScriptedEngine:
    return ScriptedEngine(
        answer=lambda prompt: f"re: {prompt.messages[-1].text}",
        score=lambda prompt, labels: {
            label: -float(len(prompt.messages[-1].text) + n) for n, label in enumerate(labels)
        },
    )


@pytest.fixture
def asker(steps: StepCache) -> Asker:
    return Asker(steps, echo())


def test_scores_that_an_earlier_version_kept_are_read(asker: Asker, steps: StepCache) -> None:
    key = asker.calls._key(prompt("a"), 'score_labels ["Yes", "No"]')
    steps.put_many({key: '{"Yes": -7.0, "No": -8.0}'})
    assert asker.score(prompt("a")) == [-7.0]
    assert asker.engine.scored == []


def test_the_same_prompt_is_asked_once_also_by_the_next_process(
    asker: Asker, steps: StepCache
) -> None:
    first = asker.generate(prompt("a"))
    second = asker.generate(prompt("a"))
    third = Asker(steps, echo())
    assert third.generate(prompt("a")) == second
    assert [answer.text for answer in (*first, *second)] == ["re: a", "re: a"]
    assert len(asker.engine.generated) == 1
    assert third.engine.generated == []


def test_an_answer_does_not_outlive_the_version_of_its_engine(
    asker: Asker, steps: StepCache
) -> None:
    asker.generate(prompt("a"))
    newer = Asker(steps, replace(echo(), info=replace(echo().info, version="2")))
    newer.generate(prompt("a"))
    assert len(newer.engine.generated) == 1


def test_a_stored_answer_is_marked_and_costs_no_tokens(asker: Asker) -> None:
    [fresh] = asker.generate(prompt("a"))
    [stored] = asker.generate(prompt("a"))
    assert not fresh.usage.stored
    assert fresh.usage.prompt_tokens > 0
    assert stored.usage == STORED
    assert stored.usage.stored
    assert (stored.usage.prompt_tokens, stored.usage.completion_tokens) == (0, 0)


def test_a_cut_answer_stays_known_as_cut(asker: Asker) -> None:
    for _ in range(2):
        [answer] = asker.generate(prompt("a b c"), max_tokens=2)
        assert (answer.text, answer.finished) == ("re: a", False)
    assert len(asker.engine.generated) == 1


def test_labels_are_scored_once_and_keep_every_digit(asker: Asker) -> None:
    asker.engine.score = lambda prompt, labels: {"Yes": -1 / 3, "No": -float("inf")}
    assert asker.score(prompt("a")) == asker.score(prompt("a")) == [-1 / 3]
    assert len(asker.engine.scored) == 1


def test_duplicates_inside_one_batch_are_asked_once(asker: Asker) -> None:
    answers = asker.generate(prompt("a"), prompt("b"), prompt("a"))
    assert [answer.text for answer in answers] == ["re: a", "re: b", "re: a"]
    assert len(asker.engine.generated) == 2


def test_only_what_is_missing_is_asked_and_the_order_stays(asker: Asker) -> None:
    asker.generate(prompt("b"))
    answers = asker.generate(prompt("a"), prompt("b"), prompt("c"))
    assert [answer.text for answer in answers] == ["re: a", "re: b", "re: c"]
    assert [answer.usage.stored for answer in answers] == [False, True, False]
    assert [each.messages[-1].text for each in asker.engine.generated] == ["b", "a", "c"]


RED, BLUE = picture("red"), picture("blue")


@pytest.mark.parametrize(
    "other",
    [
        prompt("a", BLUE),
        prompt("a"),
        prompt("a", RED, RED),
        prompt("b", RED),
        prompt("a", RED, system="Be long."),
        Prompt((Message("system", "Be brief.", (RED,)), Message("user", "a"))),
        Prompt((Message("user", "Be brief."), Message("user", "a", (RED,)))),
        Prompt((Message("system", "Be brief."), Message("user", "a", (RED,)), Message("user", ""))),
    ],
)
def test_another_prompt_or_picture_is_asked_again(asker: Asker, other: Prompt) -> None:
    asker.generate(prompt("a", RED))
    asker.generate(other)
    assert len(asker.engine.generated) == 2


@pytest.mark.parametrize("field", ["engine", "model_hash", "dtype"])
def test_another_model_engine_or_precision_is_asked_again(
    asker: Asker, steps: StepCache, field: str
) -> None:
    asker.generate(prompt("a"))
    engine = echo()
    engine.info = replace(engine.info, **{field: "other"})
    other = Asker(steps, engine)
    assert not other.generate(prompt("a"))[0].usage.stored
    assert len(engine.generated) == 1


def test_another_limit_form_kind_or_label_order_is_asked_again(asker: Asker) -> None:
    asker.generate(prompt("a"))
    asker.generate(prompt("a"), max_tokens=21)
    asker.generate(prompt("a"), schema='{"type":"object"}')
    assert len(asker.engine.generated) == 3
    asker.score(prompt("a"))
    asker.score(prompt("a"), labels=("No", "Yes"))
    assert len(asker.engine.scored) == 2


def test_what_a_lost_engine_did_not_answer_is_not_kept(asker: Asker, steps: StepCache) -> None:
    def lost(prompt: Prompt) -> str:
        raise EngineLost("the engine went away")

    answer, asker.engine.answer = asker.engine.answer, lost
    with pytest.raises(EngineLost):
        asker.generate(prompt("a"))
    assert steps.count() == 0
    asker.engine.answer = answer
    assert asker.generate(prompt("a"))[0].text == "re: a"


def test_deleting_a_user_removes_what_was_cached_for_them_alone(tmp_path: Path) -> None:
    engine = scripted()
    with deploy(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        of_the_items = deployment.home.steps.count()
        srec = Recommender(deployment)
        srec.recommend("ben", k=1)
        of_ben = deployment.home.steps.count()
        srec.recommend("mia", k=1)
        assert deployment.home.steps.count() > of_ben > of_the_items
        deployment.home.delete_user("mia")
        assert deployment.home.steps.count() == of_ben
        deployment.home.delete_user("ben")
        assert deployment.home.steps.count() == of_the_items
