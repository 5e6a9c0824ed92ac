"""profile_user: what is stable in the taste, with the interactions that show it (step 3).

Counting is a tool's work: the prompt carries the shares of every value, the model says what they
mean, and code ties each of its statements to the interactions behind it.
"""

from collections.abc import Mapping, Sequence

from langgraph.runtime import Runtime
from pydantic import Field

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.nodes.summarize_preferences import first_spelling, fused_items, kept_values
from mllm_srec.agent.state import Context, Event, State, Statement, Update
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import UNKNOWN, FusedItem, Record, Spelling, Word

MAX_TOKENS = 220
MAX_LIKED_VALUES = 22
MAX_DISLIKED_VALUES = 6

SHARES = (("loves", 50), ("likes", 30), ("leans", 15))
"""Least share of the liked interactions, in percent, that a strength stands for."""
PROMPT_LINES = {"loves": "half", "likes": "a third", "leans": "a sixth"}
"""How the share stands in the prompt."""
LEAST_COUNT = 2
"""Liked interactions that a value needs before it says anything stable."""


class Profile(Record):
    """The stable taste: values of items, by strength."""

    loves: list[Word] = Field(default_factory=list, max_length=24)
    likes: list[Word] = Field(default_factory=list, max_length=24)
    leans: list[Word] = Field(default_factory=list, max_length=24)
    dislikes: list[Word] = Field(default_factory=list, max_length=12)

    @property
    def text(self) -> str:
        """The profile in words, as prompts and people read it."""
        parts = [f"{name} {', '.join(values)}" for name, values in self if values]
        return "; ".join(parts) or "nothing stable yet"


class Evidence(Record):
    """How often a value occurs in a history, in percent."""

    value: str
    liked: int
    """Share of the liked interactions."""
    liked_count: int
    disliked_count: int


async def profile_user(state: State, runtime: Runtime[Context]) -> Update:
    """Describe the stable taste from the whole history."""
    context = runtime.context
    fused = fused_items(context, state, state.history)
    [reply] = await ask(context.calls, [question(state.history, fused)], max_tokens=MAX_TOKENS)
    return {
        "profile": statements(reply.value, state.history, fused),
        "profile_fallback": reply.fallback,
    }


def question(events: Sequence[Event], fused: Mapping[str, FusedItem]) -> Question[Profile]:
    """What does the whole history say about the user?"""
    evidence = count_evidence(events, fused)
    return Question(
        prompt=profile_prompt(evidence),
        check=lambda text: check_profile(text, evidence),
        plain=lambda: plain_profile(evidence),
    )


def profile_prompt(evidence: Sequence[Evidence]) -> Prompt:
    """The prompt of the profile: values of one strength stand in one line."""
    counted = plain_profile(evidence)
    liked = (
        f"{share}: {', '.join(values)}"
        for name, share in PROMPT_LINES.items()
        if (values := getattr(counted, name))
    )
    return render(
        "profile_user",
        liked="\n".join(liked) or "none",
        disliked=f"some: {', '.join(counted.dislikes)}" if counted.dislikes else "none",
        schema=answer_schema(Profile, supported(evidence)),
    )


def _against(entry: Evidence) -> bool:
    return entry.disliked_count > entry.liked_count


def count_evidence(events: Sequence[Event], fused: Mapping[str, FusedItem]) -> list[Evidence]:
    """Count the values of liked and disliked items; the most frequent first, then the newest."""
    liked: dict[str, int] = {}
    disliked: dict[str, int] = {}
    total_liked = 0
    spelled = first_spelling(events, fused)
    for event in reversed(events):
        if event["verdict"] == "neutral":
            continue
        total_liked += event["verdict"] == "liked"
        counts = liked if event["verdict"] == "liked" else disliked
        for value in fused[event["item_id"]].facets():
            if value != UNKNOWN:
                counts[spelled(value)] = counts.get(spelled(value), 0) + 1
    often = [value for value in liked if liked[value] >= max(LEAST_COUNT, disliked.get(value, 0))]
    often.sort(key=lambda value: -liked[value])
    never = [value for value in disliked if disliked[value] > liked.get(value, 0)]
    never.sort(key=lambda value: -disliked[value])
    return [
        Evidence(
            value=value,
            liked=round(100 * liked.get(value, 0) / max(total_liked, 1)),
            liked_count=liked.get(value, 0),
            disliked_count=disliked.get(value, 0),
        )
        for value in (*often[:MAX_LIKED_VALUES], *never[:MAX_DISLIKED_VALUES])
    ]


def check_profile(text: str, evidence: Sequence[Evidence]) -> Profile:
    """Parse a profile and keep the statements that some interaction supports.

    Raises:
        InvalidAnswer: It is malformed, or nothing in it is supported although there is something
            to say.
    """
    profile = parse(text, Profile)
    found = Profile.model_validate(kept_values(profile, supported(evidence)))
    if found == Profile() and plain_profile(evidence) != found:
        raise InvalidAnswer(text, "no statement has an interaction that supports it")
    return found


def supported(evidence: Sequence[Evidence]) -> dict[str, list[str]]:
    """For each strength the values that some interaction shows."""
    liked = [entry.value for entry in evidence if entry.liked_count]
    disliked = [entry.value for entry in evidence if entry.disliked_count]
    return {name: disliked if name == "dislikes" else liked for name in Profile.model_fields}


def plain_profile(evidence: Sequence[Evidence]) -> Profile:
    """The profile by thresholds on the shares."""
    named: dict[str, list[str]] = {"loves": [], "likes": [], "leans": [], "dislikes": []}
    for entry in evidence:
        if _against(entry):
            named["dislikes"].append(entry.value)
            continue
        strength = next((name for name, least in SHARES if entry.liked >= least), None)
        if strength:
            named[strength].append(entry.value)
    return Profile.model_validate(named)


def statements(
    profile: Profile, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> list[Statement]:
    """Tie each statement to the interactions it rests on."""
    shown = [(event, Spelling(fused[event["item_id"]].facets())) for event in events]
    return [
        Statement(
            value=value,
            strength=strength,
            item_ids=[
                event["item_id"]
                for event, values in shown
                if event["verdict"] == ("disliked" if strength == "dislikes" else "liked")
                and value in values
            ],
        )
        for strength, named in profile
        for value in named
    ]


def stated(profile: Sequence[Statement]) -> Profile:
    """The profile that some statements came from."""
    named: dict[str, list[str]] = {}
    for statement in profile:
        named.setdefault(statement["strength"], []).append(statement["value"])
    return Profile.model_validate(named)
