"""Words that are copied have the same tokens wherever they stand; what they are written with."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from mllm_srec.finetune.training.tiny import make_tokenizer, running_words
from tests.finetune.small import write_small_model

TEXTS = [
    "this is one of the things that are made of polyester and of cotton",
    '{"material":"polyester","what":"kite"}',
    "it is one of the gifts for the user, made of hemp and of wool",
] * 100


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(TEXTS)


def test_words_of_running_text_are_those_that_are_never_a_value() -> None:
    words = running_words(TEXTS)
    assert {"is", "of", "the"} <= set(words)
    assert "polyester" not in words


def test_a_value_has_the_same_tokens_in_a_sentence_and_in_json(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for word in ("polyester", "kite", "parachute", "Nordlund"):
        alone = tokenizer.tokenize(word)
        assert tokenizer.tokenize(f"of {word}.")[-len(alone) - 1 : -1] == alone
        assert tokenizer.tokenize(f'"{word}"')[1 : len(alone) + 1] == alone


def test_rare_words_stay_in_pieces() -> None:
    made = make_tokenizer([*TEXTS, "a zeppelin, a zeppelin"])
    assert len(made.tokenize("zeppelin")) > 1


def test_a_model_to_start_from_is_written_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loud: Any = transformers_logging
    loud.set_verbosity_warning()
    loud.enable_progress_bar()
    write_small_model(tmp_path / "model")
    # transformers would warn of the pad_token_id of its own default configuration.
    assert capfd.readouterr().err == ""
