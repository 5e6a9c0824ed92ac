"""The engine contract on srec-tiny, the model that ships."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from PIL import Image

from mllm_srec.agent.demo import sample_shop
from mllm_srec.finetune.training.parity import BOUNDS, parity_prompts
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.load import bundled_model, load_engine
from mllm_srec.llm.pictures import load_budget, prepare
from mllm_srec.llm.prompting import render

LABELS = ("Yes", "No")
NOISE = 0.0001
"""Nats, as for the random model of the other contract tests. Measured: 5e-6 in float32."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The shipped model as the product loads it where there is no vLLM."""
    with closing(load_engine("transformers", bundled_model()).engine) as loaded:
        yield loaded


def test_a_batch_gives_what_single_calls_give(engine: Engine) -> None:
    prompts = list(parity_prompts(load_budget(bundled_model())))[::5]
    assert sum(bool(prompt.pictures) for prompt in prompts) == 4
    together = engine.score_labels(prompts, LABELS)
    alone = [engine.score_labels([prompt], LABELS)[0] for prompt in prompts]
    for a, b in zip(together, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=NOISE)


def test_two_pictures_with_the_same_text_give_two_answers(engine: Engine) -> None:
    budget = load_budget(bundled_model())
    names = sorted((sample_shop() / "images").iterdir())[:3]
    looks = [render("look", pictures=(prepare(Image.open(name), budget),)) for name in names]
    answers = [answer.text for answer in engine.generate(looks, max_tokens=128)]
    alone = [engine.generate([look], max_tokens=128)[0].text for look in looks]
    assert len(set(answers)) == len(names)
    assert answers == alone


# vLLM runs one model in a process, and other tests of this one have theirs.
PARITY = """
from mllm_srec.finetune.training.parity import check_parity
from mllm_srec.llm.load import bundled_model

found = check_parity(bundled_model())
print(found.float32, found.bfloat16)
"""


@pytest.mark.slow
def test_vllm_and_transformers_agree_on_it(vllm_installed: None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARITY], stdout=subprocess.PIPE, text=True, check=True
    )
    float32, bfloat16 = map(float, done.stdout.splitlines()[-1].split())
    assert float32 <= BOUNDS["float32"] == 0.005
    assert bfloat16 <= BOUNDS["bfloat16"] == 0.1
