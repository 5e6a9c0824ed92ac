"""JSON schemas as masks over the next token, for engines without constrained decoding."""

from collections.abc import Sequence

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

    def mask(self, schemas: Sequence[str | None]) -> "SchemaMask":
        """A mask for a batch that begins its answers now, each row by its own schema or free.

        Raises:
            ModelError: A schema cannot be turned into a grammar.
        """
        matchers = [None if schema is None else self._matcher(schema) for schema in schemas]
        return SchemaMask(matchers, self._vocab_size)

    def _matcher(self, schema: str) -> llguidance.LLMatcher:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            schema, defaults={"whitespace_flexible": False}
        )
        matcher = llguidance.LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise ModelError(f"schema {schema[:200]!r} cannot guide: {matcher.get_error()}")
        return matcher


class SchemaMask(LogitsProcessor):
    """Forbids each row of a batch the tokens that would leave its schema."""

    def __init__(self, matchers: Sequence[llguidance.LLMatcher | None], vocab_size: int) -> None:
        """Take one matcher a row; a row without one is free."""
        self._matchers = matchers
        self._bits = guidance_masks.allocate_token_bitmask(len(matchers), vocab_size)
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores (B, V), after the last column of input_ids (B, T) was chosen."""
        for row, matcher in enumerate(self._matchers):
            if matcher is None:
                self._bits[row] = -1
                continue
            if self._begun and not matcher.is_stopped():
                matcher.consume_token(int(input_ids[row, -1]))
            # A row that is complete may only end; padding after the end does not matter.
            guidance_masks.fill_next_token_bitmask(matcher, self._bits, row)
        self._begun = True
        allowed = np.unpackbits(self._bits.view(np.uint8), axis=1, bitorder="little")
        forbidden = torch.from_numpy(allowed[:, : scores.shape[1]] == 0).to(scores.device)
        return scores.masked_fill(forbidden, float("-inf"))
