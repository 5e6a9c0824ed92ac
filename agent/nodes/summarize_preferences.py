"""summarize_preferences: how the taste moves, window by window (MLLM-SRec, step 2).

One pass handles one window: `p_t = f(p_(t-1), window_t)`. The graph comes back here until the
last window is done, so that every state is kept and one new interaction costs one call.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from langgraph.runtime import Runtime
from pydantic import Field

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.nodes.fuse_items import all_there, described, pictured
from mllm_srec.agent.state import Context, Event, PreferenceState, Settings, State, Update
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import DAY_S, UNKNOWN, FusedItem, Record, Spelling, Word

MAX_TOKENS = 260
FLAT_HISTORY = 30
"""Latest interactions that an ablation without windows, or without the chain, puts in a prompt."""

LEVELS = {"strong": 3, "clear": 2, "slight": 1, "avoids": -1}
"""Points from which a value is at a level, and those that a carried level counts as."""
PROMPT_LINES = {
    "strong": "3 or more",
    "clear": "2",
    "slight": "1",
    "rising": "risen to 2 or more",
    "fading": "fallen from 2 or more",
    "avoids": "less than 0",
}
"""How the values of a part of the preference stand in the prompt. Each is one line: a small model
copies a run of words, and loses its way between lines."""
DECAY = 0.9
"""What remains of a carried point after one interaction."""
ROUNDED_UP = 0.3
"""What a sum may lack of a whole point: a carried level then outlives three interactions."""
CAPS = {"strong": 8, "clear": 10, "slight": 16, "avoids": 8}
"""Values that are named at a level at most."""


class Preference(Record):
    """The dynamic preference after a window: values of items, by strength and direction."""

    strong: list[Word] = Field(default_factory=list, max_length=16)
    clear: list[Word] = Field(default_factory=list, max_length=20)
    slight: list[Word] = Field(default_factory=list, max_length=24)
    rising: list[Word] = Field(default_factory=list, max_length=20)
    fading: list[Word] = Field(default_factory=list, max_length=20)
    avoids: list[Word] = Field(default_factory=list, max_length=16)

    @property
    def text(self) -> str:
        """The preference in words, as prompts and people read it."""
        parts = [f"{name} {', '.join(values)}" for name, values in self if values]
        return "; ".join(parts) or "nothing yet"

    @property
    def preferred(self) -> tuple[str, ...]:
        """The values that are preferred, the strongest first."""
        return (*self.strong, *self.clear, *self.slight)

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
    fused = fused_items(context, state, events)
    [reply] = await ask(
        context.calls,
        [question(before, events, fused)],
        max_tokens=MAX_TOKENS,
    )
    window = PreferenceState(
        start=start,
        stop=stop,
        preference=reply.value.model_dump(),
        fallback=reply.fallback,
    )
    return {"windows": [window]}


def windows(length: int, settings: Settings) -> list[tuple[int, int]]:
    """Index ranges of the windows, anchored at the first interaction; the last may be shorter.

    Without the temporal step all that is known stands in one.
    """
    if not length:
        return []
    if settings.without == "temporal":
        return [(max(length - FLAT_HISTORY, 0), length)]
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
    counted = plain_preference(before, events, fused)
    lines = (f"{PROMPT_LINES[name]}: {', '.join(values)}" for name, values in counted if values)
    return render(
        "summarize_preferences",
        window=window_lines(events, fused),
        points="\n".join(lines) or "none",
        schema=answer_schema(Preference, supported(before, events, fused)),
    )


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
    """Parse a preference and keep what the evidence supports, each value at one level.

    Of several levels that the answer gives a value the first counts, the strongest.

    Raises:
        InvalidAnswer: It is malformed, or nothing in it is supported although there is something
            to say.
    """
    named = kept_values(parse(text, Preference), supported(before, events, fused))
    seen = set[str]()
    for name in LEVELS:
        named[name] = [value for value in named[name] if value not in seen]
        seen.update(named[name])
    found = Preference.model_validate(named)
    if found == Preference() and plain_preference(before, events, fused) != found:
        raise InvalidAnswer(text, "it names nothing that the interactions show")
    return found


def kept_values(
    said: Iterable[tuple[str, Iterable[str]]], allowed: Mapping[str, Iterable[str]]
) -> dict[str, list[str]]:
    """For each part of an answer its values that are allowed there, as they are written there."""
    found = dict[str, list[str]]()
    for name, values in said:
        spelled = Spelling(allowed[name])
        found[name] = list(dict.fromkeys(spelled(each) for each in values if each in spelled))
    return found


def supported(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> dict[str, list[str]]:
    """For each part of a preference the values that the carried one or the window gives it."""
    liked, disliked = _evidence(before, events, fused)
    held = list(dict.fromkeys(before.values()))
    now = list(dict.fromkeys((*held, *liked)))
    against = list(dict.fromkeys((*held, *disliked)))
    return {
        **dict.fromkeys(("strong", "clear", "slight", "rising"), now),
        "fading": held,
        "avoids": against,
    }


@dataclass(frozen=True, slots=True)
class Points:
    """How much speaks for a value at the end of a window."""

    value: str
    now: int
    was: str | None
    """The level in the carried preference."""

    @property
    def level(self) -> str | None:
        """The level that the points amount to."""
        if self.now <= LEVELS["avoids"]:
            return "avoids"
        return next((name for name, least in LEVELS.items() if 0 < least <= self.now), None)


def count_points(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> list[Points]:
    """Count what speaks for every value, most points first, then what is new, then the newest.

    A carried level counts as its points, which fade by `DECAY` with each interaction of the
    window; a liked interaction adds one to each value of the item, a disliked one takes one away.
    Values beyond `CAPS`, and those that never were or are no longer of any level, are left out.
    """
    liked, disliked = _evidence(before, events, fused)
    levels = {value: name for name, values in before for value in values if name in LEVELS}
    sums = dict.fromkeys((*liked, *disliked, *levels), 0.0)
    for value, name in levels.items():
        sums[value] += LEVELS[name] * DECAY ** len(events)
    for counts, sign in ((liked, 1), (disliked, -1)):
        for value, count in counts.items():
            sums[value] += sign * count
    found = [Points(value, _whole(sum_), levels.get(value)) for value, sum_ in sums.items()]
    found.sort(key=lambda point: (-point.now, LEVELS.get(point.was or "", 0)))
    left = dict(CAPS)
    kept = []
    for point in found:
        if point.level is None:
            if point.was in ("strong", "clear"):
                kept.append(point)
        elif left[point.level]:
            left[point.level] -= 1
            kept.append(point)
    return kept


def _whole(points: float) -> int:
    return int(math.copysign(math.floor(abs(points) + ROUNDED_UP), points))


def plain_preference(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> Preference:
    """The preference by counting: what a careful annotator would write down."""
    named: dict[str, list[str]] = {name: [] for name, _ in Preference()}
    known = before != Preference()
    for point in count_points(before, events, fused):
        was, now = LEVELS.get(point.was or "", 0), LEVELS.get(point.level or "", 0)
        if point.level:
            named[point.level].append(point.value)
        if known and now >= LEVELS["clear"] and now > max(was, 0):
            named["rising"].append(point.value)
        if was >= LEVELS["clear"] and now < was:
            named["fading"].append(point.value)
    return Preference.model_validate(named)


def _evidence(
    before: Preference, events: Sequence[Event], fused: Mapping[str, FusedItem]
) -> tuple[dict[str, int], dict[str, int]]:
    """Count values of liked and of disliked items, newest interaction first.

    They are written as in the carried preference, else as the oldest interaction has them.
    """
    spelled = first_spelling(events, fused, before.values())
    liked: dict[str, int] = {}
    disliked: dict[str, int] = {}
    for event in reversed(events):
        counts = {"liked": liked, "disliked": disliked}.get(event["verdict"])
        if counts is not None:
            for value in fused[event["item_id"]].facets():
                if value != UNKNOWN:
                    counts[spelled(value)] = counts.get(spelled(value), 0) + 1
    return liked, disliked


def first_spelling(
    events: Sequence[Event], fused: Mapping[str, FusedItem], before: Iterable[str] = ()
) -> Spelling:
    """How the values of a history are written: as they were before, else as they came first."""
    shown = (fused[event["item_id"]].facets() for event in events)
    return Spelling(chain(before, *shown))


def fused_items(context: Context, state: State, events: Sequence[Event]) -> dict[str, FusedItem]:
    """Fused descriptions of the items of some events of a history.

    Raises:
        ItemGone: One was deleted or changed meanwhile.
    """
    ids = list(dict.fromkeys(event["item_id"] for event in events))
    items = described(context.home.catalogue, ids, without=context.settings.without)
    return dict(all_there(items | pictured(state), ids))
