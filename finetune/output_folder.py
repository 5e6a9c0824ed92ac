"""The folder that a person names for what a command writes."""

from pathlib import Path

from mllm_srec.finetune.errors import FinetuneError


def make_output_folder(out: Path) -> None:
    """Make a folder, and those around it; one that is there stays as it is.

    Raises:
        FinetuneError: It cannot be made: a file stands in its way, or nobody may write there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FinetuneError(
            f"the folder {str(out)!r} cannot be made ({error.strerror}): give --out a folder in "
            "which you may write"
        ) from error
