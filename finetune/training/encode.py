"""From records to tokens: those that serving sends, loss on the answer alone.

Scoring groups become trees: the shared beginning once, then the branches, each of which sees the
beginning and itself. That is the same function as one row for each candidate, at a fraction of the
cost, because nearly all of a scoring prompt is shared.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.finetune.data.records import (
    SPLITS,
    AnyRecord,
    Record,
    RecordError,
    RecordGroup,
    Task,
    Turn,
)
from mllm_srec.finetune.training.record_pictures import Pictures, load_processor
from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import Message, Picture, Prompt

IGNORED = 0.0
"""Weight of a token that is read but not learned."""

# Of a branch only the label says anything; that an end follows it is learned at once.
_END_WEIGHT = 0.1

_OTHER = {YES: NO, NO: YES}

# Stands where a branch goes on, to find out what the chat template puts after the user's text.
_MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"

_COLOUR = re.compile(r'"(?:colour|style)":"([^"]*)"')

_NEAR = 24
"""Characters on each side of a split that are looked at."""

_NO_PICTURE = Picture(b"", "", 0, 0)


class Doubts(NamedTuple):
    """What else could stand at some places of a record: the other labels of scores."""

    places: NDArray[np.int64]
    """(D,) places in the record."""
    ids: NDArray[np.int64]
    """(D,) the tokens that count as targets there too."""
    weights: NDArray[np.float32]
    """(D,) how much they count."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as tokens; T tokens, the branches of a group one after another."""

    task: str
    ids: NDArray[np.int32]
    """(T,) token ids, picture places filled."""
    positions: NDArray[np.int32]
    """(T,) place of each token in its own conversation; every branch goes on where the shared part
    ends."""
    branch: NDArray[np.int16]
    """(T,) 0 for what is shared or plain, 1, 2, ... for the branches."""
    weights: NDArray[np.float32]
    """(T,) how much a token counts as a target; 0 for what is not learned."""
    images: tuple[str, ...] = ()
    token_types: NDArray[np.int32] | None = None
    """(T,) 0 for text, 1 for places of pictures; None where the model's processor does not say."""
    doubts: Doubts | None = None
    """Of soft labels the other half."""

    @property
    def length(self) -> int:
        """Tokens, the shared ones once."""
        return len(self.ids)


class Encoder:
    """Turns records into tokens with the chat template that serving uses."""

    def __init__(self, model_path: Path, pictures: Pictures) -> None:
        self._template = ChatTemplate(model_path)
        self._processor = load_processor(model_path)
        self._pictures = pictures
        self._labels: dict[str, list[int]] = {}

    def encode(self, record: AnyRecord) -> Encoded:
        """Tokens, positions and weights of a record or a group.

        Raises:
            RecordError: A branch does not start at a token of its own.
            StoreError: A picture is missing.
        """
        return self._tree(record) if isinstance(record, RecordGroup) else self._plain(record)

    def _plain(self, record: Record) -> Encoded:
        prompt = _prompt(record.prompt)
        asked = self._template.render(prompt)
        answer = self._answer(prompt, asked, record.completion[0].text)
        head, types = self._ids(asked, record.images)
        ids = np.array([*head, *answer], np.int32)
        weights = np.zeros(len(ids), np.float32)
        weights[len(head) :] = record.weight
        return Encoded(
            record.task,
            ids,
            positions=np.arange(len(ids), dtype=np.int32),
            branch=np.zeros(len(ids), np.int16),
            weights=weights,
            images=record.images,
            token_types=_continued(types, len(ids)),
        )

    def _tree(self, group: RecordGroup) -> Encoded:
        *before, user = group.prompt
        marked = Turn(role="user", content=(*user.content, *_text(_MARK)))
        head, tail = self._template.render(_prompt((*before, marked))).split(_MARK)
        shared, types = self._ids(head, group.images)
        parts = [(shared, 0, IGNORED)]
        doubts: list[tuple[int, int, float]] = []
        length = len(shared)
        for number, branch in enumerate(group.branches, 1):
            suffix = self._template.defuse(branch.suffix) + tail
            self._check_split(group.task, head, suffix)
            asked = self._template.encode(suffix)
            answer = self._label(group, branch.label)
            parts.append((asked, number, IGNORED))
            parts.append((answer[:-1], number, branch.weight * (1 - branch.doubt)))
            parts.append((answer[-1:], number, branch.weight * _END_WEIGHT))
            if branch.doubt:
                other = self._label(group, _OTHER[branch.label])
                doubts.append((length + len(asked), other[0], branch.weight * branch.doubt))
            length += len(asked) + len(answer)
        joined = _join(group, parts, len(shared), types)
        return replace(joined, doubts=_doubts(doubts)) if doubts else joined

    def _check_split(self, task: Task, head: str, suffix: str) -> None:
        # A tokenizer that joins across the split does so within the nearest words.
        before, after = head[-_NEAR:], suffix[:_NEAR]
        encode = self._template.encode
        if encode(before + after) != encode(before) + encode(after):
            raise RecordError(
                f"the tokenizer joins what stands before and after {SPLITS[task]!r}: take a model "
                "whose tokenizer keeps line ends apart"
            )

    def colour_words(self, encoded: Encoded) -> set[int]:
        """Tokens of a visual answer that no longer hold when the picture is recoloured.

        Besides the colour that is the style, whose cues are drawn in colours of their own.
        """
        answer = self._processor.tokenizer.decode(encoded.ids[encoded.weights > 0])
        seen = _COLOUR.findall(answer)
        return {token for word in seen for token in self._template.encode(word)}

    def _label(self, group: RecordGroup, label: str) -> list[int]:
        """Tokens of a label and its end mark: the same after every prompt."""
        if label not in self._labels:
            prompt = _prompt(group.prompt)
            self._labels[label] = self._answer(prompt, self._template.render(prompt), label)
        return self._labels[label]

    def _answer(self, prompt: Prompt, asked: str, text: str) -> list[int]:
        """Tokens of an answer and its end mark, as they follow the prompt's tokens."""
        whole = self._template.render(prompt, answer=text)
        if not whole.startswith(asked):
            raise RecordError(
                "the chat template writes a prompt otherwise once it is answered: "
                "its prompts cannot be trained as they are served"
            )
        return self._template.encode(whole[len(asked) :].rstrip("\n"))

    def _ids(self, text: str, images: Sequence[str]) -> tuple[list[int], list[int] | None]:
        """Tokens of a prompt, every picture mark filled with its picture's tokens; their types."""
        if not images:
            return self._template.encode(text), None
        loaded = [self._pictures.load(name) for name in images]
        made = self._processor(text=[text], images=[loaded])
        types = made.get("mm_token_type_ids")
        return list(made["input_ids"][0]), None if types is None else list(types[0])


def _continued(types: Sequence[int] | None, length: int) -> NDArray[np.int32] | None:
    """The types of a prompt's tokens, and of the text that follows up to a length (T,)."""
    if types is None:
        return None
    whole = np.zeros(length, np.int32)
    whole[: len(types)] = types
    return whole


def _doubts(doubts: Sequence[tuple[int, int, float]]) -> Doubts:
    places, ids, weights = zip(*doubts, strict=True)
    return Doubts(
        np.array(places, np.int64), np.array(ids, np.int64), np.array(weights, np.float32)
    )


def _join(
    group: RecordGroup,
    parts: Iterable[tuple[Sequence[int], int, float]],
    shared: int,
    types: Sequence[int] | None,
) -> Encoded:
    ids: list[int] = []
    branch: list[int] = []
    weights: list[float] = []
    positions: list[int] = []
    places: dict[int, int] = {}
    for tokens, number, weight in parts:
        start = places.get(number, shared if number else 0)
        places[number] = start + len(tokens)
        ids.extend(tokens)
        branch.extend([number] * len(tokens))
        weights.extend([weight] * len(tokens))
        positions.extend(range(start, start + len(tokens)))
    return Encoded(
        group.task,
        np.array(ids, np.int32),
        np.array(positions, np.int32),
        np.array(branch, np.int16),
        np.array(weights, np.float32),
        group.images,
        _continued(types, len(ids)),
    )


def _prompt(messages: Sequence[Turn]) -> Prompt:
    """The prompt as an engine gets it, with stand-ins for the pictures."""
    return Prompt(tuple(Message(t.role, t.text, (_NO_PICTURE,) * t.pictures) for t in messages))


def _text(text: str) -> tuple[Any, ...]:
    return Turn.model_validate(
        {"role": "user", "content": [{"type": "text", "text": text}]}
    ).content
