"""The rows of the ablation: what each leaves out of the chain, or adds to it."""

from dataclasses import dataclass, field

from mllm_srec.agent.state import Settings
from mllm_srec.finetune.data.records import Task
from mllm_srec.finetune.errors import FinetuneError


class AblationError(FinetuneError):
    """An ablation cannot be made, or cannot go on; the message names the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row: the chain as it is trained and asked, and what it is trained for."""

    name: str
    """Also the name of its files."""
    about: str
    """What a person reads."""
    chain: Settings = field(default_factory=Settings)
    """Of training prompts and of serving ones alike."""
    tasks: tuple[Task, ...] = ("summarize_preferences", "profile_user", "score_target")
    """The later steps that are trained. Descriptions come from the shared checkpoint, and reasons
    are no part of a ranking."""


FULL = "full"
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(
            name="not-tuned",
            about="not fine-tuned for scoring",
            tasks=("summarize_preferences", "profile_user"),
        ),
        Variant(name="no-picture", about="without picture", chain=Settings(without="picture")),
        Variant(name="no-text", about="without text", chain=Settings(without="text")),
        Variant(
            name="no-temporal",
            about="without temporal step (one flat history)",
            chain=Settings(without="temporal"),
        ),
        Variant(name="no-profile", about="without profile", chain=Settings(without="profile")),
        Variant(
            name="raw-history",
            about="straight from the raw history",
            chain=Settings(without="chain"),
        ),
        Variant(
            name="scoring-picture",
            about="with the target's picture in the scoring prompt",
            chain=Settings(scoring_picture=True),
        ),
        Variant(name=FULL, about="full"),
    )
}


def chosen_variants(names: tuple[str, ...] | None) -> list[Variant]:
    """The variants of some names, in the order of the table; all without names.

    Raises:
        AblationError: There is none of a name.
    """
    if unknown := set(names or ()) - set(VARIANTS):
        raise AblationError(f"no variant {min(unknown)!r}: there are {list(VARIANTS)}")
    return [variant for name, variant in VARIANTS.items() if names is None or name in names]
