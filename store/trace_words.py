"""The words that a trace is found by: the same cut for what is stored and for what is asked."""

import re
from collections.abc import Iterable, Sequence

from mllm_srec.store.spans import Span

LONGEST = 40
"""Characters of a word; longer ones are hashes and encoded bytes, which nobody looks for."""
RUNS_AT_ONCE = 256
"""Unfinished runs whose words are kept in memory."""
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


class GrowingWords:
    """The words of runs that are being written, so that a run need not be read when it ends.

    Only runs that were seen from their start on are known whole; of too many at once, or of those
    whose writing failed, nothing is known.
    """

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = {}

    def add(self, spans: Sequence[Span]) -> None:
        """Count the words of spans that are written together."""
        for span in spans:
            if span.parent_id is None and span.end_ns is None:
                if len(self._words) >= RUNS_AT_ONCE:
                    self._words.clear()
                self._words[span.trace_id] = set()
        for trace_id in {span.trace_id for span in spans} & self._words.keys():
            self._words[trace_id] |= words_of(s for s in spans if s.trace_id == trace_id)

    def take(self, trace_id: str) -> set[str] | None:
        """The words of a run that has ended, None where they are not known whole."""
        return self._words.pop(trace_id, None)

    def forget(self, spans: Iterable[Span]) -> None:
        """Know nothing of the runs of these spans, which could not be written."""
        for span in spans:
            self._words.pop(span.trace_id, None)
