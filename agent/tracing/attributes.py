"""Values as span attributes: OpenInference names where it has one, `srec.*` where it has none."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from openinference.semconv.trace import ImageAttributes, MessageAttributes, MessageContentAttributes
from openinference.semconv.trace import SpanAttributes as Names
from pydantic import BaseModel

from mllm_srec.agent.results import Tokens
from mllm_srec.llm.answer_schema import form_name
from mllm_srec.llm.engine import EngineInfo, Message, Prompt
from mllm_srec.llm.prompting import prompt_hash
from mllm_srec.llm.vllm_settings import SEED as VLLM_SEED
from mllm_srec.store.spans import Attribute

Attributes = dict[str, Attribute]
IMAGE_URL = f"{MessageContentAttributes.MESSAGE_CONTENT_IMAGE}.{ImageAttributes.IMAGE_URL}"
LOGPROB = "srec.logprob."
"""Beginning of the attributes that hold the log-probability of a label."""
TOKEN_ID = "srec.token_id."
"""Beginning of the attributes that hold the token of a label, where the engine says."""
STORED = "srec.stored"
"""Present, and true, on a call that an earlier run had answered."""
BATCH = "srec.batch"
"""How many calls the node handed over together; their spans have one start and one end."""
PICTURE = "srec.picture"
"""Key and size of a picture as sent: `KEY WIDTHxHEIGHT`."""
SCORE = "srec.score"
"""Best margin between two labels in a run, in nats."""
STORE_SECONDS = "srec.store_seconds"
"""Seconds in which the stores worked for a node, outside of its calls."""
STORES = "srec.stores"
"""Each of these stores with how often it was used and how long, `{"Catalogue": [3, 0.0041]}`."""
DROPPED = "srec.dropped"
"""What retrieval left out and why, as JSON: counts by reason, and the best items of each."""
FOUND = "srec.found"
"""How many items a source of retrieval brought."""
PHASES = ("queue", "prefill", "decode")
PHASE = "srec.%s_seconds"
"""Seconds of a call in each phase, where the engine says."""
NOISE_FLOOR = "srec.noise_floor"
"""Nats by which the engine's arithmetic moved a margin when it started."""
PARENT = "srec.parent"
"""Trace and step that a run was forked from: `TRACE_ID STEP`."""
EDITS = "srec.edits"
"""What a fork changed, as JSON: fields of the state, and texts of the prompts; and the steps whose
results it kept."""
LIST = "list"
"""Event of a step in which the recommendation graph ran: its `request`, as JSON."""
REDACTED = "[redacted]"
"""Stands in the place of what was left out on purpose."""
LATE = "deadline: "
"""How the error of a step begins that took longer than the caller would wait."""
ADAPTER = "srec.adapter"
"""LoRA adapter on top of the weights. No engine loads one: `finetune export` merges them, and then
`srec.model.hash` tells models apart."""
SEED = "srec.seed"
"""Seed that the engine was given; greedy answers need none."""
PROVENANCE = (
    "srec.code.version",
    "srec.engine",
    "srec.engine.version",
    Names.LLM_MODEL_NAME,
    "srec.model.hash",
    "srec.dtype",
    ADAPTER,
    SEED,
    "srec.prompts.hash",
    "srec.index.hash",
    "srec.settings",
)
"""Attributes of a root that say what the run was made with."""


class Done(NamedTuple):
    """Something that a step did and that has ended."""

    name: str
    attributes: Mapping[str, Attribute]
    start_ns: int
    """Nanoseconds since 1970-01-01 UTC."""
    end_ns: int


CODE = ("agent", "llm", "store", "tools")
"""Packages that decide what comes of a run."""


@cache
def code_version() -> str:
    """Version of this program and a hash of its code, `0.1.0+1f2e3d4c`.

    A checkout that was changed has the version of before; what it makes may differ.
    """
    try:
        named = version("mllm-srec")
    except PackageNotFoundError:
        named = "unknown"
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(path for package in CODE for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return f"{named}+{digest.hexdigest()[:8]}"


def as_json(value: object) -> str:
    """Any value of ours as JSON; bytes by their length alone."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def value_attributes(name: str, mime_name: str, value: object) -> Attributes:
    """Input or output of a step; nothing for None."""
    return {} if value is None else {name: as_json(value), mime_name: "application/json"}


def engine_attributes(info: EngineInfo) -> Attributes:
    """What answers."""
    return {
        Names.LLM_MODEL_NAME: info.model,
        "srec.engine": info.engine,
        "srec.engine.version": info.version,
        "srec.model.hash": info.model_hash,
        "srec.dtype": info.dtype,
    }


def made_with(info: EngineInfo) -> Attributes:
    """What answers in a whole run, and how it was set."""
    seed = VLLM_SEED if info.engine.startswith("vllm") else "none, answers are greedy"
    return {**engine_attributes(info), ADAPTER: "none", SEED: seed}


def provenance(*, index: object, prompts: Sequence[str], settings: object) -> Attributes:
    """What a run was made with, beside the engine.

    Args:
        index: Facts about the vectors.
        prompts: Names of the prompt files.
        settings: Of the chain.
    """
    return {
        "srec.index.hash": hashlib.sha256(as_json(index).encode()).hexdigest(),
        "srec.prompts.hash": prompt_hash(*prompts),
        "srec.settings": as_json(settings),
    }


def token_attributes(tokens: Tokens) -> Attributes:
    """Token counts of a call, or of a whole run."""
    return {
        Names.LLM_TOKEN_COUNT_PROMPT: tokens.prompt,
        Names.LLM_TOKEN_COUNT_COMPLETION: tokens.completion,
        Names.LLM_TOKEN_COUNT_TOTAL: tokens.prompt + tokens.completion,
        Names.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ: tokens.cached,
    }


def input_messages(messages: Sequence[Message], addresses: Mapping[str, str]) -> Attributes:
    """A prompt as sent.

    Args:
        messages: The prompt's messages.
        addresses: Key of each picture to the address of its bytes, `sha256:...`.
    """
    attributes: Attributes = {}
    for number, message in enumerate(messages):
        start = f"{Names.LLM_INPUT_MESSAGES}.{number}"
        attributes[f"{start}.{MessageAttributes.MESSAGE_ROLE}"] = message.role
        if not message.pictures:
            attributes[f"{start}.{MessageAttributes.MESSAGE_CONTENT}"] = message.text
            continue
        part = f"{start}.{MessageAttributes.MESSAGE_CONTENTS}.%d."
        for index, picture in enumerate(message.pictures):
            here = part % index
            attributes[here + MessageContentAttributes.MESSAGE_CONTENT_TYPE] = "image"
            attributes[here + IMAGE_URL] = addresses[picture.key]
            attributes[here + PICTURE] = f"{picture.key} {picture.width}x{picture.height}"
        here = part % len(message.pictures)
        attributes[here + MessageContentAttributes.MESSAGE_CONTENT_TYPE] = "text"
        attributes[here + MessageContentAttributes.MESSAGE_CONTENT_TEXT] = message.text
    return attributes


def call_settings(prompt: Prompt, settings: Mapping[str, object]) -> Attributes:
    """The settings of a call, with the name and a hash of the schema that its answer is held to.

    The schema itself is made of words that stand in the prompt.
    """
    held: dict[str, object] = {}
    if prompt.schema is not None:
        digest = hashlib.sha256(prompt.schema.encode()).hexdigest()
        held["schema"] = f"{form_name(prompt.schema)} {digest[:16]}"
    return {Names.LLM_INVOCATION_PARAMETERS: as_json({**settings, **held})}


def output_message(text: str) -> Attributes:
    """The raw answer of the model."""
    start = f"{Names.LLM_OUTPUT_MESSAGES}.0"
    return {
        f"{start}.{MessageAttributes.MESSAGE_ROLE}": "assistant",
        f"{start}.{MessageAttributes.MESSAGE_CONTENT}": text,
    }


def _plain(value: object) -> object:
    """What `json` cannot write by itself."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return value.tolist()
    return repr(value)
