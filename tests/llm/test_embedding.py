import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.embedding import TokenEmbedder
from mllm_srec.llm.engine import ModelError

TEXTS = ["red shoes", "red sporty shoes", "blue ball", "", "Ä 🎈"]


def embedder(folder: Path) -> TokenEmbedder:
    return TokenEmbedder(folder, ChatTemplate(folder).tokenizer)


def test_vectors_are_unit_and_the_same_alone_and_in_a_batch(tiny_model: Path) -> None:
    one = embedder(tiny_model)
    together = one.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(one.embed([text])[0], vector)


def test_words_in_common_bring_texts_near(tiny_model: Path) -> None:
    a, b, c, *_ = embedder(tiny_model).embed(TEXTS)
    assert a @ b > a @ c


def test_bfloat16_weights_are_read(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "bf16"))
    weights = {name: t.to(torch.bfloat16) for name, t in load_file(folder / _W).items()}
    save_file(weights, folder / _W)
    near = np.sum(embedder(folder).embed(TEXTS) * embedder(tiny_model).embed(TEXTS), axis=1)
    assert near.min() > 0.999


_W = "model.safetensors"


def test_frequent_tokens_weigh_less(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "counted"))
    ids = ChatTemplate(folder).tokenizer.encode("the", add_special_tokens=False).ids
    counts = {str(token): 1_000_000 for token in ids}
    (folder / "token_frequencies.json").write_text(json.dumps(counts))
    plain, counted = embedder(tiny_model), embedder(folder)

    def shift(of: TokenEmbedder) -> float:
        with_word, without = of.embed(["the red ball", "red ball"])
        return float(1 - with_word @ without)

    assert shift(counted) < shift(plain)


def test_a_model_without_weights_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="embedding"):
        TokenEmbedder(tmp_path, ChatTemplate(tiny_model).tokenizer)
