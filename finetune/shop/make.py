"""A whole drawn shop in one call."""

from pathlib import Path

from mllm_srec.agent.results import Progress
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.output_folder import make_output_folder
from mllm_srec.finetune.shop.catalogue import make_items, write_catalogue
from mllm_srec.finetune.shop.users import write_interactions

_WRITTEN = ("items.parquet", "interactions.parquet", "labels.parquet", "images", "truth")


def make_shop(
    seed: int,
    items: int,
    users: int,
    out: Path,
    *,
    pictures: bool = True,
    progress: Progress = lambda stage, done, total: None,
) -> None:
    """Make a shop: catalogue, labels and interactions, and the truth about them in `truth/`.

    The same arguments give the same bytes.

    Args:
        seed: Another seed is another shop: other brands, items, users.
        items: How many items.
        users: How many users.
        out: A folder; made when missing. What is written must not be there yet.
        pictures: False draws none, for large shops.
        progress: Told how far the pictures and the users are.

    Raises:
        FinetuneError: The folder cannot be made, or holds one of the files or folders; nothing was
            written.
    """
    make_output_folder(out)
    for name in _WRITTEN:
        if (out / name).exists():
            raise FinetuneError(
                f"{str(out / name)!r} is there already, and the shop would be written over it: "
                "give --out another folder"
            )
    truths = make_items(seed, items)
    write_catalogue(truths, out, seed=seed, pictures=pictures, progress=progress)
    write_interactions(truths, seed=seed, users=users, out_dir=out, progress=progress)
