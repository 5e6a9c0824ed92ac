"""Transformers in this process: for machines where vLLM does not install."""

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, LogitsProcessorList
from transformers.cache_utils import DynamicLayer
from transformers.generation.streamers import BaseStreamer

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.embedding import TokenEmbedder
from mllm_srec.llm.encoding import Encoded, Encoder, batches, families, stack, stack_pixels
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, ModelError, Prompt, Usage
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.model_files import model_hash
from mllm_srec.llm.schema_mask import SchemaGrammars
from mllm_srec.llm.stopping import Stop, governing
from mllm_srec.llm.transformers_model import end_ids, image_token_id, load_model

# Bounds memory. From 8 to 128 rows no difference in speed could be told (busy two cores).
_ROWS = 32
_TOKENS = 32_768


class TransformersEngine:
    """A model loaded by transformers in this process."""

    def __init__(self, model_path: Path, *, dtype: str = "auto") -> None:
        """Load a model; `auto` is bfloat16 on a GPU and float32 elsewhere.

        Raises:
            ModelError: transformers cannot load the model.
        """
        on_gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")
        name = ("bfloat16" if on_gpu else "float32") if dtype == "auto" else dtype
        self._template = ChatTemplate(model_path)
        self._embedder = TokenEmbedder(model_path, self._template.tokenizer)
        self._model, processor = load_model(model_path, getattr(torch, name))
        self._model.to(self._device).eval()
        text = self._model.config.get_text_config()
        self._context = int(text.max_position_embeddings)
        self._ends = end_ids(self._model.generation_config)
        self._encoder = Encoder(self._template, processor, image_token_id(self._model.config))
        self._grammars: SchemaGrammars | None = None
        self._vocab_size = int(text.vocab_size)
        # Multi-axis positions depend on where the pictures stand: no sharing by plain positions.
        self._plain_positions = not hasattr(self._model.model, "get_rope_index")
        self._info = EngineInfo(
            "transformers", version("transformers"), model_path.name, model_hash(model_path), name
        )

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._info

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Answer each prompt greedily; see `Engine.generate`."""
        encoded = self._encode(prompts)
        answers: dict[int, Answer] = {}
        for batch in batches(encoded, rows=_ROWS, tokens=_TOKENS, extra=max_tokens):
            governing().check()
            rows = [encoded[index] for index in batch]
            schemas = [prompts[index].schema for index in batch]
            new = self._decode(rows, max_tokens, schemas)
            governing().check()
            answers |= zip(batch, map(self._answer, rows, new), strict=True)
        for answer in answers.values():
            used = answer.usage.prompt_tokens + answer.usage.completion_tokens
            if used > self._context:
                raise self._too_long(f"{answer.usage.prompt_tokens} tokens and its answer do")
        return [answers[index] for index in range(len(prompts))]

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Yield the pieces of one answer; a consumer that stops early stops the model too."""
        rows = self._encode([prompt])
        tokens = _TokenQueue()
        with ThreadPoolExecutor(1, thread_name_prefix="stream") as worker:
            made = worker.submit(self._produce, rows, max_tokens, tokens)
            try:
                came = iter(tokens.queue.get, None)
                yield from self._pieces(token for token in came if token not in self._ends)
                made.result()  # raises what broke the answer off
            finally:
                tokens.stop.ask()

    @torch.inference_mode()
    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Log-probabilities of labels; what prompts share at their beginning is computed once."""
        ids = label_token_ids(self._template, labels)
        encoded = self._encode(prompts)
        scores: dict[int, LabelScores] = {}
        for common, family in families(encoded):
            members = [encoded[index] for index in family]
            shared = self._prefix(members[0], common)
            common = shared.length if shared else 0
            for batch in batches(members, rows=_ROWS, tokens=_TOKENS):
                governing().check()
                rows = [members[index] for index in batch]
                logits = self._next_logits(rows, shared)
                found = torch.log_softmax(logits.float(), -1)[:, list(ids.values())].tolist()
                for index, row, values in zip(batch, rows, found, strict=True):
                    usage = Usage(len(row.ids), 1, common)
                    logprobs = dict(zip(ids, values, strict=True))
                    scores[family[index]] = LabelScores(logprobs, usage, ids)
        return [scores[index] for index in range(len(prompts))]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of texts."""
        return self._embedder.embed(texts)

    def close(self) -> None:
        """Nothing to give back beyond memory."""

    def _encode(self, prompts: Sequence[Prompt]) -> list[Encoded]:
        encoded = [self._encoder.encode(prompt) for prompt in prompts]
        longest = max((len(prompt.ids) for prompt in encoded), default=0)
        if longest >= self._context:
            raise self._too_long(f"{longest} tokens does")
        return encoded

    def _too_long(self, what: str) -> ModelError:
        return ModelError(
            f"a prompt of {what} not fit into the model's context of {self._context} tokens: "
            "shorten the prompt"
        )

    def _inputs(self, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        inputs = stack(rows)
        inputs |= stack_pixels(rows, inputs["input_ids"].shape[1])
        return {name: self._place(tensor) for name, tensor in inputs.items()}

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            return tensor.to(self._device, self._model.dtype)
        return tensor.to(self._device)

    @torch.inference_mode()
    def _decode(
        self,
        rows: Sequence[Encoded],
        max_tokens: int,
        schemas: Sequence[str | None],
        **options: Any,
    ) -> list[list[int]]:
        """New token ids of each row, greedy."""
        inputs = self._inputs(rows)
        guides = []
        if any(schema is not None for schema in schemas):
            if self._grammars is None:
                self._grammars = SchemaGrammars(
                    self._template.tokenizer, self._vocab_size, self._ends
                )
            guides.append(self._grammars.mask(schemas))
        output = self._model.generate(
            **inputs,
            max_new_tokens=max_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList(guides),
            pad_token_id=self._ends[0],
            stopping_criteria=[_stopping(governing())],
            **options,
        )
        new: list[list[int]] = output[:, inputs["input_ids"].shape[1] :].tolist()
        return new

    def _answer(self, row: Encoded, new: Sequence[int]) -> Answer:
        end = next((i for i, token in enumerate(new) if token in self._ends), None)
        kept = new if end is None else new[:end]
        used = len(new) if end is None else end + 1
        return Answer(self._text(kept), Usage(len(row.ids), used), end is not None)

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._template.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _pieces(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of tokens as they come, joined that of all together."""
        ids = list[int]()
        start = end = shown = 0
        for token in tokens:
            ids.append(token)
            # With the piece before it: how a piece is spelt depends on what it follows.
            before, now = self._text(ids[start:end]), self._text(ids[start:])
            # An unfinished character shows as a replacement mark until its last byte is there.
            if len(now) > len(before) and not now.endswith("\ufffd"):
                yield now[len(before) :]
                start, end, shown = end, len(ids), shown + len(now) - len(before)
        if rest := self._text(ids)[shown:]:
            yield rest

    def _produce(self, rows: Sequence[Encoded], max_tokens: int, tokens: "_TokenQueue") -> None:
        try:
            with tokens.stop.govern():
                self._decode(rows, max_tokens, [None], streamer=tokens)
        finally:
            tokens.queue.put(None)

    def _prefix(self, row: Encoded, length: int) -> "_Prefix | None":
        """Compute the shared beginning once; None where there is none, or it cannot be used."""
        if length == 0 or (row.keys and not self._plain_positions):
            return None
        inside = bool(row.keys) and length > row.first_picture
        pixels = {name: self._place(t) for name, t in row.pixels.items()} if inside else {}
        ids = torch.tensor([row.ids[:length]], device=self._device)
        cache = self._model(
            input_ids=ids, use_cache=True, logits_to_keep=1, **pixels
        ).past_key_values
        # Other kinds of layers (sliding windows, state spaces) do not hold the whole beginning.
        if not all(type(layer) is DynamicLayer for layer in cache.layers):
            return None
        return _Prefix(length, cache, inside)

    def _next_logits(self, rows: Sequence[Encoded], shared: "_Prefix | None") -> torch.Tensor:
        """Logits (B, V) after the last token of each row."""
        length = shared.length if shared else 0
        inputs = stack(rows, length)
        if self._plain_positions:
            steps = inputs["attention_mask"].cumsum(1) - 1
            inputs["position_ids"] = steps.clamp(min=0) + length
        if shared is None or not shared.pictures:
            inputs |= stack_pixels(rows, inputs["input_ids"].shape[1])
        if shared is not None:
            before = torch.ones((len(rows), length), dtype=torch.long)
            inputs["attention_mask"] = torch.cat([before, inputs["attention_mask"]], 1)
        placed: dict[str, Any] = {name: self._place(tensor) for name, tensor in inputs.items()}
        if shared is not None:
            placed["past_key_values"] = _repeat(shared.cache, len(rows))
        logits: torch.Tensor = self._model(**placed, logits_to_keep=1).logits
        return logits[:, -1]


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The computed beginning that prompts share."""

    length: int
    """Tokens."""
    cache: DynamicCache
    pictures: bool
    """Whether it holds the pictures."""


class _TokenQueue(BaseStreamer):
    """Hands tokens of one answer from the thread that makes them to the one that shows them."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.stop = Stop()
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        # The first call brings the prompt.
        if self._prompt:
            self._prompt = False
            return
        for token in value.flatten().tolist():
            self.queue.put(token)

    def end(self) -> None:
        """Nothing: `_produce` marks the end, also after an error."""


def _stopping(stop: Stop) -> Callable[..., torch.Tensor]:
    """A criterion that ends all rows at the next token once the stop is asked."""

    def criterion(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), stop.asked, device=input_ids.device)

    return criterion


def _repeat(cache: DynamicCache, rows: int) -> DynamicCache:
    """A view of a one-row cache for several rows; appending to it leaves the original alone."""
    wide = DynamicCache()
    layers: Any = cache.layers
    for index, layer in enumerate(layers):
        keys, values = layer.keys, layer.values
        wide.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
    return wide
