"""JSON schemas as masks over the next token, for engines without constrained decoding."""

import json
from collections.abc import Mapping
from typing import Any

import llguidance
import numpy as np
import torch
from llguidance import numpy as guidance_masks
from tokenizers import Tokenizer
from transformers import LogitsProcessor

from mllm_srec.llm.engine import ModelError


class SchemaGrammars:
    """Compiles schemas for one tokenizer; vLLM uses the same library with the same settings."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, end_ids: list[int]) -> None:
        """Read the tokenizer into the grammar library."""
        self._vocab_size = vocab_size
        self._tokenizer = llguidance.LLTokenizer(
            tokenizer.to_str(), n_vocab=vocab_size, eos_token=end_ids
        )
        self._compiled: dict[str, llguidance.LLMatcher] = {}

    def mask(self, schema: Mapping[str, Any], rows: int) -> "SchemaMask":
        """A mask for a batch that begins its answers now.

        Raises:
            ModelError: The schema cannot be turned into a grammar.
        """
        text = json.dumps(schema)
        if text not in self._compiled:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(
                text, defaults={"whitespace_flexible": False}
            )
            matcher = llguidance.LLMatcher(self._tokenizer, grammar)
            if matcher.is_error():
                raise ModelError(f"schema {text[:200]!r} cannot guide: {matcher.get_error()}")
            self._compiled[text] = matcher
        matchers = [self._compiled[text].deep_copy() for _ in range(rows)]
        return SchemaMask(matchers, self._vocab_size)


class SchemaMask(LogitsProcessor):
    """Forbids each row of a batch the tokens that would leave its schema."""

    def __init__(self, matchers: list[llguidance.LLMatcher], vocab_size: int) -> None:
        """Take one matcher a row."""
        self._matchers = matchers
        self._bits = guidance_masks.allocate_token_bitmask(len(matchers), vocab_size)
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores (B, V), after the last column of input_ids (B, T) was chosen."""
        for row, matcher in enumerate(self._matchers):
            if self._begun and not matcher.is_stopped():
                matcher.consume_token(int(input_ids[row, -1]))
            # A row that is complete may only end; padding after the end does not matter.
            guidance_masks.fill_next_token_bitmask(matcher, self._bits, row)
        self._begun = True
        allowed = np.unpackbits(self._bits.view(np.uint8), axis=1, bitorder="little")
        forbidden = torch.from_numpy(allowed[:, : scores.shape[1]] == 0).to(scores.device)
        return scores.masked_fill(forbidden, float("-inf"))
