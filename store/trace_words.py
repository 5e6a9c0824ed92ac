"""The words that a trace is found by: the same cut for what is stored and for what is asked."""

import re
from collections.abc import Iterable

from mllm_srec.store.spans import Span

LONGEST = 40
"""Characters of a word; longer ones are hashes and encoded bytes, which nobody looks for."""
_WORD = re.compile(r"[^\W_]+")
_DECIMAL = re.compile(r"\d+\.\d+(?:e[-+]?\d+)?")
"""Scores and the like: each would be a word of its own, and nobody looks for them."""


def split(text: str) -> list[str]:
    """The words of a text in lower case, decimal numbers left out."""
    found = _WORD.findall(_DECIMAL.sub(" ", text))
    return [word.casefold() for word in found if len(word) <= LONGEST]


def words_of(spans: Iterable[Span]) -> set[str]:
    """The different words in the texts of spans: inputs, prompts, answers, events, errors."""
    words: set[str] = set()
    seen: set[str] = set()
    for span in spans:
        events = (value for event in span.events for value in event.attributes.values())
        for value in (span.name, span.message, *span.attributes.values(), *events):
            # What a hundred scoring prompts share line by line is cut once.
            for line in value.splitlines() if isinstance(value, str) else ():
                if line not in seen:
                    seen.add(line)
                    words.update(split(line))
    return words


def match_expression(text: str) -> str:
    """The query of the full-text index for texts that hold all words, the last maybe only begun."""
    quoted = [f'"{word}"' for word in split(text)]
    return " ".join(quoted) + "*" if quoted else ""
