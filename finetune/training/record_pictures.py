"""Pictures by the names that records give them, and where they come from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from mllm_srec.llm.pictures import load_budget, open_prepared, prepare

PictureSource = Callable[[str], Image.Image]
"""Gives the picture of a name, such as `PictureStore.load`."""

KEPT_BYTES = 2 * 2**30
"""Pictures as numbers in memory: ten thousand of srec-tiny, thirty where they are cut in 13."""


def load_processor(model_path: Path) -> Any:
    """A model's processor: its tokenizer, and what makes its pictures into numbers."""
    return AutoProcessor.from_pretrained(model_path)  # type: ignore[no-untyped-call]  # transformers' own


def one_tile(features: Mapping[str, Tensor]) -> bool:
    """Whether a picture's pixels are those of one square (1, 1, 3, H, W), not of several."""
    pixels = features["pixel_values"]
    return pixels.ndim == 5 and pixels.shape[1] == 1


class Pictures:
    """Pictures by the names that records give them, as the model's own processor makes them."""

    def __init__(self, load: PictureSource, model_path: Path) -> None:
        self._load = load
        self._budget = load_budget(model_path)
        self._processor = load_processor(model_path)
        self._features: dict[str, dict[str, Tensor]] = {}
        self._bytes = 0

    def load(self, name: str) -> Image.Image:
        """The prepared pixels of one picture: what serving sends."""
        return open_prepared(prepare(self._load(name), self._budget))

    def features(self, name: str) -> dict[str, Tensor]:
        """What the picture processor makes of one picture.

        Kept for the next epoch; of more than `KEPT_BYTES` the oldest go.
        """
        if name not in self._features:
            made = self._processor.image_processor([[self.load(name)]], return_tensors="pt")
            self._features[name] = {
                key: value for key, value in made.items() if isinstance(value, Tensor)
            }
            self._bytes += _size(self._features[name])
            while self._bytes > KEPT_BYTES and len(self._features) > 1:
                self._bytes -= _size(self._features.pop(next(iter(self._features))))
        return self._features[name]


def _size(features: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in features.values())
