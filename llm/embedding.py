"""Vectors of texts without a second model: weighted means of the model's own token embeddings.

Smooth inverse frequency weighting (Arora, Liang and Ma, 2017): a token of probability p weighs
a / (a + p), and the direction that all texts share is removed. Numpy only: every engine, the
client of a server included, gives the same vectors.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mllm_srec.llm.engine import ModelError

FREQUENCIES_FILE = "token_frequencies.json"
"""Beside the weights: token id to count in the training text. Without it all tokens weigh alike."""

_SMOOTHING = 1e-3  # `a` of the paper, its default
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# The input embedding of the text part, over the families that transformers knows.
_NAMES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")


class TokenEmbedder:
    """Texts to unit vectors, deterministic for given model files."""

    def __init__(self, model_path: Path, tokenizer: Tokenizer) -> None:
        """Read the input embedding of a model.

        Raises:
            ModelError: The weights hold no readable input embedding.
        """
        self._tokenizer = tokenizer
        self._table = _read_table(model_path)
        probability = _probabilities(model_path, tokenizer, len(self._table))
        self._weight = (_SMOOTHING / (_SMOOTHING + probability)).astype(np.float32)
        expected = probability * self._weight
        self._common = (expected / expected.sum()).astype(np.float32) @ self._table

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self._table.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of texts; a text alone and in a batch gives the same vector."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, encoding in enumerate(encoded):
            vectors[row] = self._vector(np.asarray(encoding.ids, np.int64))
        return vectors

    def _vector(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        # An empty text stands at the origin, that is, opposite to what all texts share.
        mean = np.zeros(self.dimension, np.float32)
        if len(ids):
            weights = self._weight[ids]
            mean = (weights / weights.sum()) @ self._table[ids]
        centred = mean - self._common
        length = float(np.linalg.norm(centred))
        if length == 0.0:
            centred[0], length = 1.0, 1.0
        return np.asarray(centred / length, np.float32)


def _probabilities(model_path: Path, tokenizer: Tokenizer, size: int) -> NDArray[np.float64]:
    """Probability of each token (V,): as counted, else uniform over what text can hold."""
    path = model_path / FREQUENCIES_FILE
    counts = np.zeros(size)
    if path.exists():
        for token, count in json.loads(path.read_text("utf-8")).items():
            counts[int(token)] = count
        # Unseen tokens are rare, not impossible.
        counts += 0.5
    else:
        counts += 1.0
    for token, added in tokenizer.get_added_tokens_decoder().items():
        if added.special and token < size:
            counts[token] = 0.0
    counts[tokenizer.get_vocab_size(with_added_tokens=True) :] = 0.0
    return np.asarray(counts / counts.sum(), np.float64)


def _read_table(model_path: Path) -> NDArray[np.float32]:
    """The input embedding (V, D) as float32, straight from the safetensors file."""
    for path in sorted(model_path.glob("*.safetensors")):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        for name, entry in sorted(header.items()):
            if name.endswith(_NAMES) and "vision" not in name and len(entry["shape"]) == 2:
                return _read_tensor(path, 8 + size, name, entry)
    raise ModelError(
        f"{model_path} holds no input embedding in safetensors: save the model with "
        "`save_pretrained(..., safe_serialization=True)`, unquantised"
    )


def _read_tensor(path: Path, start: int, name: str, entry: dict[str, Any]) -> NDArray[np.float32]:
    kind = str(entry["dtype"])
    if kind not in _TYPES:
        raise ModelError(
            f"{path}: {name} is {kind!r}, which cannot be read as numbers: use unquantised "
            "embeddings (float32, float16 or bfloat16)"
        )
    offset = start + int(entry["data_offsets"][0])
    raw = np.memmap(path, _TYPES[kind], "r", offset, tuple(entry["shape"]))
    if kind == "BF16":
        # bfloat16 is the upper half of a float32.
        return (np.asarray(raw).astype(np.uint32) << 16).view(np.float32)
    return np.asarray(raw, np.float32)
