"""LangChain messages as a prompt of ours."""

import base64
import binascii
import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from mllm_srec.llm.engine import Message, Picture, Prompt
from mllm_srec.llm.pictures import PictureBudget, prepare
from mllm_srec.store.pictures import open_picture


def prompt_of(
    messages: Sequence[BaseMessage], budget: PictureBudget, *, also: Sequence[str] = ()
) -> Prompt:
    """Messages as a prompt: what the system says first, neighbours of one role as one message.

    Args:
        messages: As LangChain has them; the last one a person's or a tool's.
        budget: How large the model sees pictures.
        also: What the system says besides.

    Raises:
        ValueError: The last message is the model's, or a part is neither text nor a picture in
            the message itself.
        BadPicture: A picture cannot be decoded.
    """
    system = [each.text for each in messages if isinstance(each, SystemMessage)]
    said = [_message(each, budget) for each in messages if not isinstance(each, SystemMessage)]
    if not said or said[-1].role != "user":
        raise ValueError("the last message must be a person's or a tool's: there is nothing to do")
    turns = [_joined(list(group)) for _, group in groupby(said, key=lambda each: each.role)]
    head = [Message("system", "\n\n".join([*system, *also]))] if system or also else []
    return Prompt((*head, *turns))


def _message(message: BaseMessage, budget: PictureBudget) -> Message:
    if isinstance(message, AIMessage):
        calls = [
            json.dumps({"tool": call["name"], "arguments": call["args"]}, ensure_ascii=False)
            for call in message.tool_calls
        ]
        return Message("assistant", "\n".join(filter(None, [str(message.text), *calls])))
    texts, pictures = _content(message, budget)
    if isinstance(message, ToolMessage):
        texts = [f"Result of the tool {message.name or message.tool_call_id}:", *texts]
    return Message("user", "\n".join(texts), tuple(pictures))


def _content(message: BaseMessage, budget: PictureBudget) -> tuple[list[str], list[Picture]]:
    """The texts and the pictures of a message, each in their order."""
    texts, pictures = list[str](), list[Picture]()
    for block in message.content_blocks:
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "image" and "base64" in block:
            pictures.append(prepare(open_picture(_decoded(block["base64"])), budget))
        elif block["type"] == "image":
            raise ValueError("pictures are read from the message alone: give them as base64")
        else:
            raise ValueError(f"a part of type {block['type']!r}: the model reads text and pictures")
    return texts, pictures


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a picture is not base64: {error}") from error


def _joined(messages: Sequence[Message]) -> Message:
    pictures = tuple(picture for each in messages for picture in each.pictures)
    return Message(messages[0].role, "\n\n".join(each.text for each in messages), pictures)
