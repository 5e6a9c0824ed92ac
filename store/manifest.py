"""What the vectors of a home were made with: checked on opening, kept beside them."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mllm_srec.store.errors import IndexMismatch, StoreError
from mllm_srec.store.files import write_private

FORMAT = 1
"""Version of the layout of `vectors/`; a newer one is refused."""

DISTANCE = "cosine"
"""Fixed when a collection is made; vectors are compared by nothing else."""


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What vectors depend on; vectors of different facts must not meet in one index."""

    model: str
    """Name of the model, for people."""
    model_hash: str
    """Content hash of weights, configuration and tokenizer, adapter included."""
    prompt_hash: str
    """Content hash of the prompts that made the descriptions."""
    preparation_hash: str
    """Version of the picture preparation."""
    dimension: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of an index on disk."""

    facts: IndexFacts
    name: str
    """Random, made once: homes that share a Chroma server must not share collections."""
    generation: int
    """Names the folder or collection in use; a rebuild makes the next one and then moves here."""
    revision: int
    """Counts finished writes, so that readers notice them."""
    count: int
    """Vectors after the last finished write."""
    writing: bool
    """True while a write runs, or when its process was killed: then `count` is not exact."""
    chroma: str
    """Version of Chroma that wrote last."""
    distance: str = DISTANCE
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Replace the manifest file."""
        write_private(path, json.dumps(asdict(self), indent=1).encode())


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file, None where there is no file.

    Raises:
        StoreError: It was written by a newer version.
        IndexMismatch: It is broken.
    """
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IndexMismatch(f"{str(path)!r} is broken: {rebuild_hint(path)}") from error
    if isinstance(stored, dict) and isinstance(stored.get("format"), int):
        _refuse_newer(path, stored["format"])
    try:
        return Manifest(**{**stored, "facts": IndexFacts(**stored["facts"])})
    except (TypeError, KeyError) as error:
        raise IndexMismatch(f"{str(path)!r} is broken: {rebuild_hint(path)}") from error


def manifest_if_readable(path: Path) -> Manifest | None:
    """The manifest in a file, None where there is none that this version can read."""
    try:
        return read_manifest(path)
    except StoreError:
        return None


def check_facts(stored: IndexFacts, wanted: IndexFacts, path: Path) -> None:
    """Refuse vectors that were made otherwise.

    Raises:
        IndexMismatch: They differ in what decides a vector; the name of the model alone does not.
    """
    names = [field.name for field in fields(IndexFacts) if field.name != "model"]
    differ = [name for name in names if getattr(stored, name) != getattr(wanted, name)]
    if differ:
        raise IndexMismatch(
            f"the vectors were made by {stored.model!r} and do not fit {wanted.model!r} "
            f"({', '.join(differ)} differ): name the first with --model or in the home's "
            f"srec.toml, or {rebuild_hint(path)}"
        )


def rebuild_hint(path: Path) -> str:
    """The way out, for an index whose manifest is at `path`."""
    return f"run `srec index rebuild --home {path.parent.parent}`"


def _refuse_newer(path: Path, version: int) -> None:
    if version > FORMAT:
        raise StoreError(
            f"the vectors at {str(path.parent)!r} have format {version}, this version knows up to "
            f"{FORMAT}: upgrade mllm-srec"
        )
