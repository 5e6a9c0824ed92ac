"""A prompt read back from the attributes of a span: what `input_messages` wrote."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from openinference.semconv.trace import MessageAttributes, MessageContentAttributes
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.inspection.records import MessageRecord
from mllm_srec.agent.tracing.attributes import IMAGE_URL, PICTURE
from mllm_srec.llm.engine import Message, Role
from mllm_srec.store.spans import Attribute

_ROLE = MessageAttributes.MESSAGE_ROLE
_CONTENT = MessageAttributes.MESSAGE_CONTENT
_CONTENTS = MessageAttributes.MESSAGE_CONTENTS
_TYPE = MessageContentAttributes.MESSAGE_CONTENT_TYPE
_TEXT = MessageContentAttributes.MESSAGE_CONTENT_TEXT


def read_messages(attributes: Mapping[str, Attribute]) -> Iterator[MessageRecord]:
    """Yield the messages of a call; none for an embedding."""
    number = 0
    while (start := f"{Names.LLM_INPUT_MESSAGES}.{number}.") + _ROLE in attributes:
        texts = [attributes.get(start + _CONTENT, "")]
        images, sizes, pixels = [], [], []
        index = 0
        while (part := f"{start}{_CONTENTS}.{index}.") + _TYPE in attributes:
            if part + IMAGE_URL in attributes:
                images.append(address := str(attributes[part + IMAGE_URL]))
                key, _, size = str(attributes.get(part + PICTURE, "")).rpartition(" ")
                sizes.append(size)
                pixels.append(key or address)
            texts.append(attributes.get(part + _TEXT, ""))
            index += 1
        yield MessageRecord(
            # As the tracer wrote it, from a message of ours.
            role=cast("Role", attributes[start + _ROLE]),
            text="\n".join(str(each) for each in texts if each),
            images=tuple(images),
            sizes=tuple(sizes),
            pixels=tuple(pixels),
        )
        number += 1


def prompt_text(messages: Sequence[MessageRecord | Message]) -> str:
    """A prompt as it is shown: each message below a line with its role."""
    return "\n\n".join(f"{message.role}:\n{message.text}" for message in messages)
