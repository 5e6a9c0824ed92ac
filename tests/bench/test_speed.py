"""What the figures of speed are reckoned from."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import __main__ as speed
from bench import demo, fusing, startup
from bench.figures import Figure, exit_code, write
from bench.increment import window_seconds
from bench.machine import made_on
from bench.peer import loop_seconds
from bench.raw import merged
from bench.sampling import Sampler
from bench.shop import Call, tokens, users_with
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Message, Prompt, Usage
from mllm_srec.store.steps import StepCache
from tests.agent.shop import deploy, scripted


def prompt(text: str) -> Prompt:
    return Prompt((Message("user", text),))


def window(text: str) -> Prompt:
    return replace(prompt(text), schema=answer_schema(Preference))


CALLS = [
    Call([window("w1")], 260, seconds=0.5),
    Call([prompt("c1"), prompt("c2")], labels=("Yes", "No"), seconds=4.0),
    Call([window("w2"), window("w3")], 260, seconds=0.25),
]


def test_windows_are_told_from_other_calls_by_what_is_asked() -> None:
    assert window_seconds(CALLS) == 0.75
    with pytest.raises(RuntimeError, match="not asked for any window"):
        window_seconds(CALLS[1:2])


def test_all_prompts_of_a_kind_are_one_call() -> None:
    found = {call.labels: [one.messages[0].text for one in call.prompts] for call in merged(CALLS)}
    assert found == {(): ["w1", "w2", "w3"], ("Yes", "No"): ["c1", "c2"]}


def test_fusing_is_also_set_against_vllm_with_the_same_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop: Any = SimpleNamespace(engine=SimpleNamespace(calls=CALLS), items=10)
    monkeypatch.setattr(fusing, "_product", lambda _: 2.0)
    # A second for each call: all prompts of a kind at once are two calls, as they came three.
    monkeypatch.setattr(fusing, "raw_seconds", lambda _, calls: float(len(calls)))
    [figure] = fusing.measure(shop, 2)
    assert figure.value == 1.0
    assert "1.50 times vLLM alone with the same batches one after the other" in figure.detail


def test_the_loop_asks_for_every_prompt_by_itself() -> None:
    asked: list[list[Prompt]] = []

    def ask(prompts: list[Prompt], *_: object, **__: object) -> None:
        asked.append(prompts)

    engine = SimpleNamespace(generate=ask, score_labels=ask)
    assert loop_seconds(engine, engine, CALLS) >= 0
    # The very prompts, with the schemas that the product's answers are held to.
    assert asked == [[window("w1")], [prompt("c1")], [prompt("c2")], [window("w2")], [window("w3")]]


def test_a_figure_is_kept_with_its_machine_and_day(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    parts = {"users_per_second": 1.5}
    figure = Figure("many", 0.9, 0.8, at_least=True, detail="of something", parts=parts)
    write(path, [figure], made_on())
    write(path, [Figure("other", 2.0, 1.0, at_least=False, detail="")], made_on())
    held: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert held["many"]["passed"]
    assert held["many"]["parts"] == parts
    assert not held["other"]["passed"]
    assert "cores" in held["many"]["machine"]
    assert held["many"]["date"] == made_on()["date"]
    assert "python" in held["many"]["versions"]


def test_one_missed_limit_fails_the_bench() -> None:
    reached = Figure("a", 0.9, 0.8, at_least=True, detail="")
    missed = Figure("b", 0.9, 0.8, at_least=False, detail="")
    assert exit_code([reached]) == 0
    assert exit_code([reached, missed]) == 1
    assert exit_code([]) == 1


def test_a_figure_that_fails_is_noted_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> list[Figure]:
        raise subprocess.CalledProcessError(3, ["srec"])

    def half(*_: object) -> Iterator[Figure]:
        yield Figure("demo_peak_gib", 1.0, 4.0, at_least=False, detail="")
        raise RuntimeError("srec demo ended\nwith 1")

    def measured() -> list[Figure]:
        return [Figure("import_clean", 0, 0, at_least=False, detail="")]

    monkeypatch.setattr(startup, "measure_help", failing)
    monkeypatch.setattr(demo, "measure", half)
    monkeypatch.setattr(startup, "measure_import", measured)
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "results.json")
    wanted = ("help_seconds", "demo_peak_gib", "demo_seconds", "import_clean")
    only = [part for name in wanted for part in ("--only", name)]
    monkeypatch.setattr(sys, "argv", ["bench", *only])
    assert speed.main() == 1
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "FAILED  CalledProcessError: Command" in rows["help_seconds"]
    assert rows["demo_seconds"].endswith("FAILED  RuntimeError: srec demo ended with 1")
    assert "ok" in rows["demo_peak_gib"]
    assert "ok" in rows["import_clean"]
    held = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert set(held) == {"demo_peak_gib", "import_clean"}
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "import_clean"])
    assert speed.main() == 0


def test_tokens_are_those_computed_written_and_attended_to() -> None:
    usages = [Usage(100, 10, cached_tokens=64), Usage(20, 2)]
    found = tokens([Call([prompt("a"), prompt("b")], usages=usages)], 2)
    assert found == {
        "prompt_tokens": (36 + 20) / 2,
        "completion_tokens": 6.0,
        "attended_tokens": (10 * 105 + 2 * 21) / 2,
    }


def test_users_are_chosen_by_the_length_of_their_history(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", scripted()) as deployment:
        catalogue = deployment.home.catalogue
        assert users_with(catalogue, 4, wanted=2) == ["ben", "mia"]
        assert users_with(catalogue, 2, 4, wanted=1) == ["ada", "ben"]
        with pytest.raises(RuntimeError, match="2 users with 5 to any number"):
            users_with(catalogue, 5, wanted=2)


def test_the_sampler_finds_our_function_and_not_who_waits(tmp_path: Path) -> None:
    steps = StepCache.open(f"sqlite:///{tmp_path / 'steps.sqlite'}")
    waiting = threading.Thread(target=time.sleep, args=(0.4,))
    waiting.start()
    with Sampler() as sampler:
        ends = time.monotonic() + 0.3
        while time.monotonic() < ends:
            steps.put_many({f"{time.monotonic()}": "x" * 50 for _ in range(200)})
    waiting.join()
    steps.close()
    [(ours, _, share), *_] = sampler.largest(1)
    assert ours.startswith("store/")
    assert 0 < share <= 1
