"""Labels as tokens: one resolver for training data, serving and evaluation."""

from collections.abc import Mapping, Sequence

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.engine import Message, ModelError, Prompt

# What a label follows is always the assistant header, so any prompt shows the same tokens.
_PROBE = Prompt((Message("user", "?"),))


def label_token_ids(template: ChatTemplate, labels: Sequence[str]) -> Mapping[str, int]:
    """Token id of each label, as the first token of an answer; looked up once a template.

    Templates differ in whether a space stands between header and answer; the label takes the
    form that training gave it.

    Raises:
        ModelError: A label is not exactly one token there, or two labels share one.
    """
    key = tuple(labels)
    if key not in template.label_ids:
        template.label_ids[key] = _look_up(template, labels)
    return template.label_ids[key]


def _look_up(template: ChatTemplate, labels: Sequence[str]) -> Mapping[str, int]:
    header = template.render(_PROBE)
    before = template.encode(header)
    found = {label: _label_id(template, header, before, label) for label in labels}
    if len(set(found.values())) != len(labels):
        raise ModelError(f"labels {list(labels)!r} are not distinct tokens: choose other words")
    return found


def _label_id(template: ChatTemplate, header: str, before: Sequence[int], label: str) -> int:
    whole = template.render(_PROBE, answer=label)
    gap = whole[len(header) : whole.find(label, len(header))] if whole.startswith(header) else ""
    after = template.encode(header + gap + label)
    if after[: len(before)] != list(before) or len(after) != len(before) + 1:
        raise ModelError(
            f"label {label!r} is {after[len(before) :]!r}, not exactly one token, after the "
            "assistant header of this model: choose a label from its vocabulary"
        )
    return after[-1]
