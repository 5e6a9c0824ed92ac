"""summarize_preferences: how the taste moves, window by window (MLLM-SRec, step 2).

One pass handles one window: `p_t = f(p_(t-1), window_t)`. The graph comes back here until the
last window is done, so that every state is kept and one new interaction costs one call.
"""

from collections.abc import Iterator, Mapping, Sequence

from langgraph.runtime import Runtime
from pydantic import Field

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.nodes.fuse_items import UNKNOWN
from mllm_srec.agent.state import Context, Event, PreferenceState, Settings, State, Update
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import FusedItem, Record, Word

MAX_TOKENS = 260
DAY_S = 86_400

WEIGHTS = {"strong": 3.0, "clear": 2.0, "slight": 1.0, "avoids": -1.5}
"""Liked interactions that a level of the carried preference counts as."""
THRESHOLDS = (("strong", 2.6), ("clear", 1.6), ("slight", 0.8))
DECAY = 0.9
"""Weight that remains of the carried preference after one interaction."""
CAPS = {"strong": 8, "clear": 10, "slight": 16, "rising": 4, "fading": 4, "avoids": 8}


class Preference(Record):
    """The dynamic preference after a window: values of items, by strength and direction."""

    strong: list[Word] = Field(default_factory=list, max_length=16)
    clear: list[Word] = Field(default_factory=list, max_length=20)
    slight: list[Word] = Field(default_factory=list, max_length=24)
    rising: list[Word] = Field(default_factory=list, max_length=8)
    fading: list[Word] = Field(default_factory=list, max_length=8)
    avoids: list[Word] = Field(default_factory=list, max_length=16)

    @property
    def text(self) -> str:
        """The preference in words, as prompts and people read it."""
        parts = [f"{name} {', '.join(values)}" for name, values in self if values]
        return "; ".join(parts) or "nothing yet"

    def values(self) -> Iterator[str]:
        """Yield every value named."""
        for _, values in self:
            yield from values


async def summarize_preferences(state: State, runtime: Runtime[Context]) -> Update:
    """Take the next window into the preference."""
    context = runtime.context
    spans = windows(len(state.history), context.settings)
    start, stop = spans[len(state.windows)]
    before = (
        Preference.model_validate(state.windows[-1]["preference"])
        if state.windows
        else Preference()
    )
    events = state.history[start:stop]
    fused = fused_items(context, events)
    [reply] = await ask(
        context.calls,
        [question(before, events, fused)],
        max_tokens=MAX_TOKENS,
        schema=Preference.model_json_schema(),
    )
    window = PreferenceState(
        start=start,
        stop=stop,
        preference=reply.value.model_dump(),
        fallback=reply.fallback,
    )
    return {"windows": [window]}


def windows(length: int, settings: Settings) -> list[tuple[int, int]]:
    """Index ranges of the windows, anchored at the first interaction; the last may be shorter."""
    if not length:
        return []
    size, step = settings.window_size, settings.window_step
    starts = range(0, max(length - size, 0) + step, step)
    return [(start, min(start + size, length)) for start in starts if start < length]


def question(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> Question[Preference]:
    """What does the user prefer now, given the carried preference and one window?"""
    return Question(
        prompt=window_prompt(before, events, fused),
        check=lambda text: check_preference(text, before, events, fused),
        plain=lambda: plain_preference(before, events, fused),
    )


def window_prompt(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> Prompt:
    """The prompt of one window. Times are relative to its last interaction."""
    return render("summarize_preferences", before=before.text, window=window_lines(events, fused))


def window_lines(events: Sequence[Event], fused: Mapping[str, FusedItem]) -> str:
    """One line an interaction, oldest first."""
    last = events[-1]
    return "\n".join(
        f"- {event['verdict']}, {_before(event, last, len(events) - index - 1)}: "
        f"{fused[event['item_id']].line}"
        for index, event in enumerate(events)
    )


def _before(event: Event, last: Event, items_ago: int) -> str:
    if event["timestamp"] is None or last["timestamp"] is None:
        return f"{items_ago} items ago"
    return f"{(last['timestamp'] - event['timestamp']) // DAY_S} days before"


def check_preference(
    text: str, before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> Preference:
    """Parse a preference and keep what the evidence supports.

    Raises:
        InvalidAnswer: It is malformed, or nothing in it is supported although there is something
            to say.
    """
    preference = parse(text, Preference)
    liked, disliked = _evidence(events, fused)
    held = set(before.values())
    allowed = {name: held | set(liked) for name in ("strong", "clear", "slight", "rising")}
    allowed |= {"fading": held, "avoids": held | set(disliked)}
    kept = {
        name: [value for value in dict.fromkeys(values) if value in allowed[name]]
        for name, values in preference
    }
    found = Preference.model_validate(kept)
    if found == Preference() and plain_preference(before, events, fused) != found:
        raise InvalidAnswer(text, "it names nothing that the interactions show")
    return found


def plain_preference(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> Preference:
    """The preference by counting: what a careful annotator would write down.

    Carried levels fade by `DECAY` for each interaction of the window, liked interactions add one
    to each value of the item, disliked ones take one away. Values are named newest first.
    """
    liked, disliked = _evidence(events, fused)
    levels = {value: name for name, values in before for value in values if name in WEIGHTS}
    weights = dict.fromkeys((*liked, *disliked, *levels), 0.0)
    for value, name in levels.items():
        weights[value] += WEIGHTS[name] * DECAY ** len(events)
    for value, count in liked.items():
        weights[value] += count
    for value, count in disliked.items():
        weights[value] -= count
    named: dict[str, list[str]] = {name: [] for name in CAPS}
    for value, weight in weights.items():
        level = next((name for name, least in THRESHOLDS if weight >= least), None)
        if level:
            named[level].append(value)
        elif weight <= -THRESHOLDS[-1][1]:
            named["avoids"].append(value)
        was = WEIGHTS.get(levels.get(value, ""), 0.0)
        now = WEIGHTS.get(level or "", 0.0)
        if list(before.values()) and now >= 2 and now - max(was, 0) >= 1:
            named["rising"].append(value)
        if was >= 2 and now < was:
            named["fading"].append(value)
    return Preference.model_validate({name: values[: CAPS[name]] for name, values in named.items()})


def _evidence(
    events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> tuple[dict[str, int], dict[str, int]]:
    """Count values of liked and of disliked items, newest interaction first."""
    liked: dict[str, int] = {}
    disliked: dict[str, int] = {}
    for event in reversed(events):
        counts = {"liked": liked, "disliked": disliked}.get(event["verdict"])
        if counts is not None:
            for value in fused[event["item_id"]].facets():
                if value != UNKNOWN:
                    counts[value] = counts.get(value, 0) + 1
    return liked, disliked


def fused_items(context: Context, events: Sequence[Event]) -> dict[str, FusedItem]:
    """Fused descriptions of the items of some events."""
    ids = list(dict.fromkeys(event["item_id"] for event in events))
    return {
        item_id: entry.fused
        for item_id, entry in context.home.catalogue.representations(ids).items()
    }
