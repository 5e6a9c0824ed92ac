"""SFT records: conversations with pictures and the answer to learn, one JSON object a line.

A record is a conversation of messages with images. Scoring records of one user share nearly all of
their prompt, and what users say comes after the same instructions each time; a group holds the
shared part once. `other_trainers` writes what other trainers read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import prompt_hash
from mllm_srec.store.validation import problems

Task = Literal[
    "look", "fuse", "summarize_preferences", "profile_user", "score_target", "explain",
    "understand",
]  # fmt: skip
TASKS: tuple[Task, ...] = get_args(Task)

SPLITS: Mapping[Task, str] = {"score_target": "\nItem: ", "understand": "\nBefore: "}
"""For each task that is taught in groups, what its branches start with: the text before it is
shared."""


class RecordError(FinetuneError):
    """A record is not what training can use; the message names file, line and field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextPart(_Part):
    """Text of a turn."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(_Part):
    """The place of a picture; the pictures themselves stand in `images`, in the same order."""

    type: Literal["image"] = "image"


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Turn(_Part):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: tuple[Part, ...] = Field(min_length=1)

    @property
    def text(self) -> str:
        """The text of the turn, without pictures."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def pictures(self) -> int:
        """How many pictures the turn has."""
        return sum(isinstance(part, ImagePart) for part in self.content)


def _say(role: Literal["system", "user", "assistant"], text: str, pictures: int = 0) -> Turn:
    return Turn(role=role, content=(*[ImagePart()] * pictures, TextPart(text=text)))


def turns(prompt: Prompt) -> tuple[Turn, ...]:
    """The turns of a prompt as the engines get it, pictures before the text."""
    return tuple(_say(m.role, m.text, len(m.pictures)) for m in prompt.messages)


class Record(_Part):
    """One conversation and its answer: `messages` end with the assistant's turn."""

    task: Task
    messages: tuple[Turn, ...] = Field(min_length=2)
    images: tuple[str, ...] = ()
    """Content hashes or paths below the picture folder, one for each image part."""
    weight: float = Field(default=1.0, gt=0)
    """How much the tokens of the answer count in the loss."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.messages[-1].role != "assistant" or not self.messages[-1].text.strip():
            raise ValueError("the last message must be the assistant's answer, and not be empty")
        _check_pictures(self.messages, self.images)
        return self

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns before the answer, as the model is asked."""
        return self.messages[:-1]

    @property
    def completion(self) -> tuple[Turn, ...]:
        """The answer, as TRL's conversational prompt/completion form has it."""
        return self.messages[-1:]

    @classmethod
    def of(
        cls,
        task: Task,
        prompt: Prompt,
        answer: str,
        images: Sequence[str] = (),
        *,
        weight: float = 1.0,
    ) -> Self:
        """Make a record of the very prompt that serving sends.

        Args:
            task: The step that the record teaches.
            prompt: As a prompt builder of the agent makes it; its pictures may be stand-ins.
            answer: What the model shall say.
            images: Where the pictures of the prompt lie, in their order.
            weight: How much the answer's tokens count in the loss.
        """
        messages = (*_with_pictures(turns(prompt), len(images)), _say("assistant", answer))
        return cls(task=task, messages=messages, images=tuple(images), weight=weight)


class Branch(_Part):
    """One ending of a group."""

    suffix: str
    """The rest of the user's turn, from the task's split on."""
    label: str
    """What the model shall say; of a score `Yes` or `No`, one token of the model."""
    weight: float = Field(default=1.0, gt=0)
    doubt: float = Field(default=0.0, ge=0, lt=1)
    """Of a score: how probable it is that the other label is right (`soft_labels`)."""

    @field_validator("label")
    @classmethod
    def _told(cls, label: str) -> str:
        if not label.strip():
            raise ValueError("the label is the answer, and must not be empty")
        return label


class RecordGroup(_Part):
    """Records that share their beginning: computed once, learned from at every branch."""

    task: Task
    prompt: tuple[Turn, ...] = Field(min_length=1)
    """The turns up to the shared text; the last one, the user's, goes on in each branch."""
    images: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.prompt[-1].role != "user":
            raise ValueError(
                "the last turn of a group must be the user's: the branches complete it"
            )
        split = _split_of(self.task)
        for branch in self.branches:
            if not branch.suffix.startswith(split):
                raise ValueError(f"a branch must start with {split!r}, not {branch.suffix[:20]!r}")
            scored = self.task == "score_target" and branch.label in (YES, NO)
            if branch.doubt and not scored:
                raise ValueError(f"a score's {YES!r} or {NO!r} can be in doubt, no other label")
        _check_pictures(self.prompt, self.images)
        return self

    @classmethod
    def of(
        cls,
        task: Task,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
    ) -> Self:
        """Make a group of complete prompts without pictures that differ from a split on alone.

        Raises:
            ValueError: The prompts do not share everything before the task's split, or the task
                has none.
        """
        split = _split_of(task)
        heads = {(*p.messages[:-1], p.messages[-1].text.rpartition(split)[0]) for p in prompts}
        if len(heads) != 1:
            raise ValueError(
                f"the prompts of a group have {len(heads)} different beginnings before {split!r}: "
                "group what differs behind it alone"
            )
        first = prompts[0].messages
        shared = first[-1].text.rpartition(split)[0]
        return cls(
            task=task,
            prompt=(*turns(Prompt(first[:-1])), _say("user", shared)),
            branches=tuple(
                Branch(
                    suffix=split + prompt.messages[-1].text.rpartition(split)[2],
                    label=label,
                    weight=weight,
                )
                for prompt, label, weight in zip(
                    prompts, labels, weights or [1.0] * len(labels), strict=True
                )
            ),
        )

    def expand(self) -> Iterator[Record]:
        """Yield the plain record of each branch, with its label; a plain record has no doubt."""
        user = self.prompt[-1]
        for branch in self.branches:
            asked = _say("user", user.text + branch.suffix, user.pictures)
            yield Record(
                task=self.task,
                messages=(*self.prompt[:-1], asked, _say("assistant", branch.label)),
                images=self.images,
                weight=branch.weight,
            )


AnyRecord = Record | RecordGroup


def _split_of(task: Task) -> str:
    if task not in SPLITS:
        raise ValueError(f"{task!r} is not taught in groups: {list(SPLITS)} are")
    return SPLITS[task]


def _with_pictures(messages: tuple[Turn, ...], wanted: int) -> tuple[Turn, ...]:
    """Give the user's turn its picture places where the prompt was built without pictures."""
    if wanted == 0 or any(turn.pictures for turn in messages):
        return messages
    return (*messages[:-1], _say("user", messages[-1].text, wanted))


def _check_pictures(messages: Iterable[Turn], images: Sequence[str]) -> None:
    places = sum(turn.pictures for turn in messages)
    if places != len(images):
        raise ValueError(f"{places} image parts but {len(images)} images: give each part one image")


def write_records(path: Path, records: Iterable[AnyRecord]) -> int:
    """Write records as JSON lines; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(record.model_dump_json(exclude_defaults=False) + "\n")
            count += 1
    return count


def parse_record(line: str) -> AnyRecord:
    """Read one line of a file of records.

    Raises:
        ValidationError: The line is not a record.
    """
    kind: type[Record] | type[RecordGroup] = RecordGroup if '"branches":' in line else Record
    return kind.model_validate_json(line)


def read_records(path: Path) -> Iterator[AnyRecord]:
    """Yield the records of a file.

    Raises:
        RecordError: A line is not a record.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield parse_record(line)
            except ValidationError as error:
                place, what, _ = problems(error)[0]
                raise RecordError(f"{path.name}, line {number}, {place!r}: {what}") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prompt_hashes() -> dict[str, str]:
    """SHA-256 of the prompt file of every task, as hexadecimal digits."""
    return {task: prompt_hash(task) for task in TASKS}
