"""Whether a record asks in the words of the prompts that serving sends."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from string import Template

from mllm_srec.finetune.data.records import AnyRecord, RecordGroup, Turn
from mllm_srec.llm.prompting import template


def other_prompts(record: AnyRecord) -> Iterator[str]:
    """Yield the prompt files whose words are not those that the model will be asked with."""
    if isinstance(record, RecordGroup):
        turns: Sequence[Turn] = record.prompt
        endings = [branch.suffix for branch in record.branches]
    else:
        turns, endings = record.prompt, [""]
    if len(turns) != 2 or not _wording("system").fullmatch(turns[0].text):
        yield "system"
    asked = [turns[-1].text + ending for ending in endings]
    if not all(_wording(record.task).fullmatch(text) for text in asked):
        yield record.task


@cache
def _wording(name: str) -> re.Pattern[str]:
    """What every prompt that is made from a file looks like."""
    source = template(name).template
    parts: list[str] = []
    last = 0
    for found in Template.pattern.finditer(source):
        parts.append(re.escape(source[last : found.start()]))
        parts.append(re.escape("$") if found["escaped"] else ".*?")
        last = found.end()
    return re.compile("".join([*parts, re.escape(source[last:])]), re.DOTALL)
