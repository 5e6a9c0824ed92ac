"""The client of a vLLM server: what `vllm-server` stands for."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.embedding import TokenEmbedder
from mllm_srec.llm.engine import (
    Answer,
    EngineInfo,
    EngineLost,
    LabelScores,
    ModelError,
    Prompt,
    Usage,
)
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.server import picture_part
from mllm_srec.llm.server_connection import AT_ONCE, ServerConnection
from mllm_srec.llm.together import together
from mllm_srec.llm.vllm_settings import vllm_distribution

# Prompts go in batches: on two busy cores 300 a second were scored so, 23 to 37 one by one.
_BATCH_PROMPTS = 64
_BATCH_BYTES = 16 << 20


class VLLMServerEngine:
    """Speaks to the server that a server file describes."""

    def __init__(self, server_file: Path, *, timeout_s: float = 600.0) -> None:
        """Connect to a running server.

        Args:
            server_file: What `server.start` wrote.
            timeout_s: Longest wait for one answer (s).

        Raises:
            EngineLost: No server runs.
        """
        self._connection = ServerConnection(server_file, timeout_s=timeout_s)
        record = self._connection.record
        model_path = Path(record.model)
        self._template = ChatTemplate(model_path)
        self._embedder = TokenEmbedder(model_path, self._template.tokenizer)
        self._info = EngineInfo(
            "vllm-server",
            version(vllm_distribution() or "vllm"),
            model_path.name,
            record.model_hash,
            record.dtype,
        )

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._info

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Answer each prompt greedily; see `Engine.generate`."""
        answers = []
        for choice, usage in self._ask_all(prompts, {"max_tokens": max_tokens}):
            finished = choice["finish_reason"] == "stop"
            if not finished and usage.completion_tokens < max_tokens:
                raise ModelError(
                    f"a prompt of {usage.prompt_tokens} tokens and {max_tokens} to answer do not "
                    "fit into the model's context: shorten the prompt"
                )
            answers.append(Answer(choice["message"]["content"] or "", usage, finished))
        return answers

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Yield the pieces of one answer; a consumer that stops early stops the server too."""
        body = {
            "model": self._info.model,
            "messages": self._messages(prompt),
            "temperature": 0.0,
            "max_tokens": max_tokens,
            "stream": True,
        }
        self._connection.follow()
        for line in self._connection.stream("/v1/chat/completions", body):
            if piece := _piece(line):
                yield piece

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Log-probabilities of labels under the whole next-token distribution."""
        ids = label_token_ids(self._template, labels)
        options = {
            "max_tokens": 1,
            "logprobs": True,
            "logprob_token_ids": list(ids.values()),
            "return_tokens_as_token_ids": True,
        }
        return [
            LabelScores(_logprobs(choice, ids), usage, ids)
            for choice, usage in self._ask_all(prompts, options)
        ]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of texts."""
        return self._embedder.embed(texts)

    def close(self) -> None:
        """Let the connections go; the server stays."""
        self._connection.close()

    def _ask_all(
        self, prompts: Sequence[Prompt], options: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], Usage]]:
        """Choices of the server, with what each cost, in the order of the prompts."""

        async def ask_all() -> list[list[tuple[dict[str, Any], Usage]]]:
            limit = asyncio.Semaphore(AT_ONCE)

            async def ask(batch: Sequence[Prompt]) -> list[tuple[dict[str, Any], Usage]]:
                async with limit:
                    return await self._ask(batch, options)

            return await together(ask(batch) for batch in _batches(prompts))

        self._connection.follow()
        return [choice for batch in self._connection.run(ask_all()) for choice in batch]

    async def _ask(
        self, prompts: Sequence[Prompt], options: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], Usage]]:
        body = {
            "model": self._info.model,
            "messages": [self._messages(prompt) for prompt in prompts],
            "temperature": 0.0,
            "return_token_ids": True,
            **options,
        }
        if prompts[0].schema is not None:
            body["structured_outputs"] = {"json": prompts[0].schema}
        content = await self._connection.post("/v1/chat/completions/batch", body)
        choices = sorted(content["choices"], key=lambda choice: int(choice["index"]))
        sizes = self._prompt_tokens(prompts, content["usage"]["prompt_tokens"])
        return [
            (choice, Usage(size, len(choice["token_ids"])))
            for choice, size in zip(choices, sizes, strict=True)
        ]

    def _prompt_tokens(self, prompts: Sequence[Prompt], total: int) -> list[int]:
        """Tokens of each prompt of a batch; the server tells the sum alone.

        Pictures of one batch count alike, which is exact where the model's pictures are square.
        """
        if len(prompts) == 1:
            return [total]
        written = self._template.encode_all([self._template.render(prompt) for prompt in prompts])
        texts = list(map(len, written))
        pictures = sum(len(prompt.pictures) for prompt in prompts)
        each = (total - sum(texts)) // pictures if pictures else 0
        return [
            text + each * len(prompt.pictures) for text, prompt in zip(texts, prompts, strict=True)
        ]

    def _messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        return [
            {
                "role": message.role,
                "content": [
                    *map(picture_part, message.pictures),
                    {"type": "text", "text": self._template.defuse(message.text)},
                ],
            }
            for message in prompt.messages
        ]


def _batches(prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """Prompts in order, cut into batches of one schema by number and by bytes of pictures."""
    batch: list[Prompt] = []
    size = 0
    for prompt in prompts:
        new = sum(len(picture.pixels) for picture in prompt.pictures)
        full = len(batch) == _BATCH_PROMPTS or size + new > _BATCH_BYTES
        if batch and (full or prompt.schema != batch[0].schema):
            yield batch
            batch, size = [], 0
        batch.append(prompt)
        size += new
    if batch:
        yield batch


def _logprobs(choice: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, float]:
    position = choice["logprobs"]["content"][0]
    found = {entry["token"]: float(entry["logprob"]) for entry in position["top_logprobs"]}
    return {label: found[f"token_id:{token}"] for label, token in ids.items()}


def _piece(line: str) -> str:
    """Text of one server-sent event."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return ""
    event = json.loads(data)
    if "error" in event:
        raise EngineLost(f"the server failed while it answered: {event['error']}")
    text: str = event["choices"][0]["delta"].get("content") or "" if event["choices"] else ""
    return text
