from dataclasses import replace

import numpy as np
import pytest

from mllm_srec.llm.engine import Message, ModelError, Picture, Prompt
from mllm_srec.llm.recorded import RecordedEngine, RecordingEngine
from mllm_srec.llm.scripted import ScriptedEngine

PICTURE = Picture(bytes(3), "a" * 64, 1, 1)
PROMPT = Prompt((Message("user", "What is it?", (PICTURE,)),))
HELD = replace(PROMPT, schema='{"type":"string"}')


def recording() -> tuple[RecordingEngine, RecordedEngine]:
    store: dict[str, str] = {}
    inner = ScriptedEngine(
        answer=lambda prompt: "a red ball", score=lambda prompt, labels: {"Yes": -0.1, "No": -2.4}
    )
    return RecordingEngine(inner, store), RecordedEngine(store, inner.info)


def test_what_was_recorded_is_replayed() -> None:
    recorder, replayer = recording()
    answers = recorder.generate([HELD], max_tokens=8)
    assert replayer.generate([HELD], max_tokens=8) == answers
    scores = recorder.score_labels([PROMPT], ["Yes", "No"])
    assert replayer.score_labels([PROMPT], ["Yes", "No"]) == scores
    pieces = list(recorder.stream(PROMPT, max_tokens=8))
    assert list(replayer.stream(PROMPT, max_tokens=8)) == pieces
    vectors = recorder.embed(["red", "blue"])
    np.testing.assert_array_equal(replayer.embed(["red", "blue"]), vectors)


def test_the_recording_names_itself() -> None:
    recorder, replayer = recording()
    assert recorder.info.engine == "scripted"
    assert replayer.info == replace(recorder.info, engine="recorded")


OTHER_PICTURE = Prompt((Message("user", "What is it?", (replace(PICTURE, key="b" * 64),)),))
OTHER_TEXT = Prompt((Message("user", "What was it?", (PICTURE,)),))


@pytest.mark.parametrize("prompt", [OTHER_PICTURE, OTHER_TEXT])
def test_another_prompt_is_not_answered(prompt: Prompt) -> None:
    recorder, replayer = recording()
    recorder.generate([PROMPT], max_tokens=8)
    with pytest.raises(ModelError, match=prompt.messages[0].text.rstrip("?")):
        replayer.generate([prompt], max_tokens=8)


def test_other_settings_and_models_are_not_answered() -> None:
    recorder, replayer = recording()
    store: dict[str, str] = recorder._store  # type: ignore[assignment]
    recorder.generate([PROMPT], max_tokens=8)
    with pytest.raises(ModelError):
        replayer.generate([PROMPT], max_tokens=9)
    with pytest.raises(ModelError):
        replayer.generate([HELD], max_tokens=8)
    other = RecordedEngine(store, replace(recorder.info, model_hash="0"))
    with pytest.raises(ModelError):
        other.generate([PROMPT], max_tokens=8)
    with pytest.raises(ModelError, match="vector"):
        replayer.embed(["never seen"])


def test_the_scripted_engine_counts_and_cuts() -> None:
    engine = ScriptedEngine(answer=lambda prompt: "one two three")
    (answer,) = engine.generate([PROMPT], max_tokens=2)
    assert (answer.text, answer.finished) == ("one two", False)
    assert "".join(engine.stream(PROMPT, max_tokens=9)) == "one two three"
    assert len(engine.generated) == 2
    assert engine.score_labels([PROMPT], ["Yes", "No"])[0].logprobs["Yes"] == pytest.approx(
        np.log(0.5)
    )
    np.testing.assert_allclose(np.linalg.norm(engine.embed(["a b", ""]), axis=1), 1, rtol=1e-6)
