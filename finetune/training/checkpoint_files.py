"""Whether the files of a checkpoint are whole: a machine that lost its power may have cut some."""

import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open

from mllm_srec.finetune.errors import FinetuneError


class BrokenCheckpoint(FinetuneError):
    """A checkpoint cannot be gone on from."""


def require_whole(checkpoint: Path) -> None:
    """Refuse a checkpoint of which a file was cut.

    Raises:
        BrokenCheckpoint: One was; the message names it, and the way back to an earlier checkpoint.
    """
    if broken := list(_broken(checkpoint)):
        raise BrokenCheckpoint(
            f"{', '.join(broken)} in {str(checkpoint)!r} is broken: delete that folder, and "
            "`--resume` goes on from the checkpoint before it"
        )


def _broken(checkpoint: Path) -> Iterator[str]:
    for path in sorted(checkpoint.iterdir()):
        # What torch saves is a zip archive.
        if path.suffix in (".pt", ".pth", ".bin") and not is_zipfile(path):
            yield path.name
        if path.suffix == ".safetensors":
            try:
                safe_open(path, framework="pt")
            except SafetensorError:
                yield path.name
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        yield "trainer_state.json"
