"""Records of what users say to an assistant: the same for every shop and every teacher."""

from collections.abc import Iterator
from itertools import islice

from mllm_srec.finetune.data.records import RecordGroup
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.utterances import utterances

TOGETHER = 16
"""Messages of one group: the instructions before them are read once."""


def message_records(settings: DataSettings) -> Iterator[tuple[str, RecordGroup]]:
    """Yield groups with their origin, `messages:NUMBER`."""
    said = utterances(settings.messages, seed=settings.seed, part="train")
    for number, several in enumerate(iter(lambda: list(islice(said, TOGETHER)), [])):
        prompts = [each.prompt for each in several]
        answers = [each.answer for each in several]
        yield f"messages:{number}", RecordGroup.of("understand", prompts, answers)
