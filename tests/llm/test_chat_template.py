from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoProcessor

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import Message, ModelError, Picture, Prompt
from mllm_srec.llm.labels import label_token_ids


@pytest.fixture(scope="module")
def template(tiny_model: Path) -> ChatTemplate:
    return ChatTemplate(tiny_model)


def test_rendering_equals_that_of_transformers(
    template: ChatTemplate, tiny_model: Path, pictures: list[Picture]
) -> None:
    prompt = Prompt(
        (Message("system", "Be brief."), Message("user", "What is it?", tuple(pictures[:2])))
    )
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "image"},
                {"type": "image"},
                {"type": "text", "text": "What is it?"},
            ],
        },
    ]
    maker: Any = AutoProcessor
    processor = maker.from_pretrained(tiny_model)
    expected = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert template.render(prompt) == expected


def test_an_answer_follows_the_rendered_prompt(template: ChatTemplate) -> None:
    prompt = Prompt((Message("user", "Well?"),))
    whole = template.render(prompt, answer="Yes")
    assert whole.startswith(template.render(prompt) + "Yes")


def test_each_label_is_one_token_after_the_header(template: ChatTemplate) -> None:
    prompt = Prompt((Message("user", "Would the user like it?"),))
    header = template.encode(template.render(prompt))
    for label, token in label_token_ids(template, ("Yes", "No")).items():
        assert template.encode(template.render(prompt) + label) == [*header, token]


@pytest.mark.parametrize("labels", [("Yes", "Certainly not"), ("",), ("Yes", "Yes")])
def test_labels_that_are_not_one_token_each_are_refused(
    template: ChatTemplate, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ModelError):
        label_token_ids(template, labels)


def test_labels_are_looked_up_once(template: ChatTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    first = label_token_ids(template, ("Yes", "No"))
    other = label_token_ids(template, ("No",))
    monkeypatch.delattr(ChatTemplate, "render")
    assert label_token_ids(template, ["Yes", "No"]) == first
    assert label_token_ids(template, ["No"]) == other == {"No": first["No"]}


MARKS = ("<image>", "<end_of_utterance>", "<|im_start|>", "<|pad|>", "<global-img>")


@given(st.lists(st.sampled_from([*MARKS, "<", ">", "image", "|", " ", "a"]), max_size=12))
def test_text_cannot_write_control_marks(template: ChatTemplate, pieces: list[str]) -> None:
    defused = template.defuse("".join(pieces))
    assert not any(mark in defused for mark in MARKS)
    plain = {template.tokenizer.token_to_id(mark) for mark in MARKS}
    assert plain.isdisjoint(template.encode(defused))


def test_text_without_marks_is_left_alone(template: ChatTemplate) -> None:
    text = 'a < b, <b>bold</b>, {"what": "ball"}'
    assert template.defuse(text) == text


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tokenizer"):
        ChatTemplate(tmp_path)


def test_a_mark_of_one_character_is_left_alone(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens(["~"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": ""}')
    assert ChatTemplate(tmp_path).defuse("a ~ b") == "a ~ b"
