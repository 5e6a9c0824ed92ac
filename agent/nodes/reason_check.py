"""Which reasons are believed: what one claims is held against what the model was shown."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from pydantic import Field

from mllm_srec.agent.grounding import invented
from mllm_srec.agent.nodes.fuse_items import PRICE_BANDS
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.llm.structured import InvalidAnswer, parse
from mllm_srec.store.records import UNKNOWN, FusedItem, Record

MAX_REASON = 400
"""Characters of a reason."""
BEGINNING = 3
"""Words by which two parts of a reason are one and the same: `lately you prefer`."""
# Nothing but a mark, `and` or `you` may follow: else it is the beginning of something longer.
_ENDS = r"(?= and | you\b|[,;.]?$|[,;.] )"
_LAST_TWICE = re.compile(rf", ((?:the )?\w[\w-]*) and \1{_ENDS}")
_FIRST_AGAIN = re.compile(
    rf"(?<![\w-])((?:the )?\w[\w-]*), ((?!(?:like|lately|you)\b)[^,;.]+?) and \1{_ENDS}"
)
_TWICE = re.compile(rf"(?<![\w-])((?:the )?\w[\w-]*)(?:(?:, | and )\1{_ENDS})+")
_WHAT = "what"
_CUT_OFF = re.compile(r"\b(?:and|for|from|is|of|the|to) ?(?:[,.;](?=\s|$)|$)", re.IGNORECASE)
_UNKNOWN_KIND = re.compile(rf"\b(this|the|another) {UNKNOWN}\b", re.IGNORECASE)
# A name may have a point of its own: `Dr. Brown's`.
_LATELY = re.compile(
    r"(?:; )?\blately you (?:prefer|like|want|choose) ([^;]*?)(?=, like\b|;|\.?\s*$)",
    re.IGNORECASE,
)
PHRASES = {
    "material": "made of {}",
    "brand": "from {}",
    "price": "in the {} price range",
    "purpose": "for {}",
    "suits": "suited to {}",
}
"""How a value that the text tells stands in a sentence, by the name of its attribute."""
_LIKED = re.compile(r"\blike (?:the|an?) ([^.;]*?) (?:that )?you liked\b", re.IGNORECASE)


class CitedReason(Record):
    """The model's reason for one item."""

    cites: list[int] = Field(default_factory=list, max_length=8)
    """Numbers of the interactions in the prompt, from 1."""
    reason: str = Field(min_length=1, max_length=MAX_REASON)


class CheckedReason(CitedReason):
    """A reason as it may be shown."""

    struck: tuple[str, ...] = Field(default=(), exclude=True)
    """Values that were called a preference of late and are none: they stand there no more."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """An interaction that can be cited, and the values it shares with the recommended item."""

    item_id: str
    fused: FusedItem
    shared: tuple[str, ...]


def check_reason(
    text: str,
    preference: Preference,
    exhibits: Sequence[Exhibit],
    item: FusedItem,
    *,
    kinds: Set[str],
) -> CheckedReason:
    """Parse a reason, hold its claims against the item, and cite each interaction that it names.

    Small models say of everything that the item has that it is preferred lately: of that the part
    stays that is true.

    Args:
        text: The model's answer.
        preference: What the user prefers lately.
        exhibits: The interactions that the prompt shows.
        item: The recommended item.
        kinds: What things are called in this catalogue, `spoken`.

    Raises:
        InvalidAnswer: It is malformed, cites what was not shown, names what stands nowhere, calls
            the item what it is not, gives it a value that it does not have, tells of likes or of a
            preference that are not the user's, breaks off, or says one part again.
    """
    reason = parse(text, CitedReason)
    shown = _Shown(exhibits, item)
    preferred = set(map(spoken, preference.preferred))
    said, struck = _true_of_lately(reason.reason, preferred, shown.known)
    named, rest = _named(said, shown.values)
    faults = (
        *_faults_of_form(reason, len(exhibits)),
        *shown.faults_of_facts(said),
        *shown.faults_of_names(named, rest, kinds),
        *shown.faults_of_claims(said, preferred),
    )
    if faults:
        raise InvalidAnswer(text, faults[0])
    return CheckedReason(
        reason=_UNKNOWN_KIND.sub(r"\1 item", _said_once(said, shown.known)),
        cites=shown.cites(reason.cites, named),
        struck=struck,
    )


def spoken(text: str) -> str:
    """Text as its words alone, so that `Dr. Brown's` is found however it is set."""
    return " ".join(re.findall(r"[\w'-]+", text.casefold()))


def _true_of_lately(
    reason: str, preferred: Set[str], known: Set[str]
) -> tuple[str, tuple[str, ...]]:
    """A reason without what it calls a preference of late and what is none; and that."""
    struck = list[str]()

    def is_true(part: str) -> bool:
        named, _ = _named(part, preferred | known)
        return bool(named) and named <= preferred

    def true(match: re.Match[str]) -> str:
        named, rest = _named(match[1], preferred | known)
        # First: a value may have a comma or an `and` of its own.
        if named <= preferred and set(rest.split()) <= {",", "and"}:
            return match[0]
        parts = re.split(r", (?:and )?| and ", match[1])
        kept = [part for part in parts if is_true(part)]
        struck.extend(part for part in parts if part not in kept)
        return match[0].removesuffix(match[1]) + joined(kept) if kept else ""

    return _LATELY.sub(true, reason), tuple(struck)


def joined(words: Sequence[str]) -> str:
    """Words as a sentence lists them: `red, soft and round`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


@lru_cache(maxsize=8)
def spoken_kinds(kinds: frozenset[str]) -> frozenset[str]:
    """What things are called, `spoken`; once for each catalogue, not for each reason."""
    return frozenset(map(spoken, kinds)) - {"", UNKNOWN}


def _faults_of_form(reason: CitedReason, exhibits: int) -> Iterator[str]:
    begun = [spoken(part).split()[:BEGINNING] for part in reason.reason.split(";")]
    if any(words in begun[:index] for index, words in enumerate(begun)):
        yield "it says the same part again"
    if _CUT_OFF.search(reason.reason):
        yield "it breaks off"
    for cite in reason.cites:
        if not 1 <= cite <= exhibits:
            yield f"interaction [{cite}] was not shown"


class _Shown:
    """What the model was shown, as words that a sentence may have."""

    def __init__(self, exhibits: Sequence[Exhibit], item: FusedItem) -> None:
        fused = [exhibit.fused for exhibit in exhibits]
        self._facts = [each.line for each in (item, *fused)]
        self._facts += [*item.told, *map(str, range(len(exhibits) + 1))]
        self._own = _spoken_facets([item])
        self._what = spoken(item.what)
        self._told = {name: spoken(value) for name, value in item.told.items()}
        self._called = [spoken(each.what) for each in fused]
        # What a shown item and an attribute are called may stand in the sentence; the other values
        # of a shown item are not the item's.
        self._names = set(map(spoken, item.told))
        self.known = self._own | self._names | set(self._called)
        # Prices are never the model's to say, also where nothing that was shown has one.
        self.values = self._own | {word for _, word in PRICE_BANDS} | _spoken_facets(fused)

    def faults_of_facts(self, reason: str) -> Iterator[str]:
        """Numbers and names that stand nowhere."""
        for made_up in sorted(invented(reason, self._facts)):
            yield f"{made_up!r} stands nowhere in what was shown"

    def faults_of_names(self, named: Set[str], rest: str, kinds: Set[str]) -> Iterator[str]:
        """Values that are not the item's, and kinds that nothing shown is."""
        for stray in sorted(named - self.known):
            yield f"{stray!r} is not a value of the item"
        for kind in sorted(kind for kind in kinds if kind in rest and _is_called(kind, rest)):
            yield f"{kind!r} is neither the item nor what was shown"
        if not named & self._own:
            yield "it says nothing about the item"

    def faults_of_claims(self, reason: str, preferred: Set[str]) -> Iterator[str]:
        """What it tells of the item's attributes, and of the user's likes."""
        words = spoken(reason)
        for name in PHRASES.keys() & self._told.keys():
            phrase = PHRASES[name]
            for value in sorted(self._own - {self._told[name]}):
                if re.search(rf"\b{re.escape(phrase.format(value))}(?!\w)", words):
                    yield f"{value!r} is not the item's {name}"
        if not self._called and "you liked" in reason:
            yield "no interaction that the user liked was shown"
        for told in _LIKED.findall(reason):
            if self._what in _named(told, self.values)[0] - set(self._called):
                yield f"no {self._what!r} that the user liked was shown"
        # The prompt names what is in common, `what soap`: that is no word of a sentence.
        words = f" {spoken(re.sub('[,.;]', ' and ', reason))} and"
        if any(f" {_WHAT} {each}" in words for each in (self._what, *self._called, "and")):
            yield f"{_WHAT!r} is the name of an attribute"
        for told in _LATELY.findall(reason):
            for stray in sorted(_named(told, self.values)[0] - preferred):
                yield f"{stray!r} is not what the user prefers lately"

    def cites(self, given: Sequence[int], named: Set[str]) -> list[int]:
        """The numbers given, and those of what is named: its number may not stand there."""
        cites = dict.fromkeys(given)
        said_of = {self._called[cite - 1] for cite in cites} | self._own | self._names
        for name in sorted(named - said_of):
            cites[self._called.index(name) + 1] = None
        return list(cites)


def _said_once(text: str, names: Iterable[str]) -> str:
    """A reason without what a small model lists twice: `the drum, the kite and the drum`.

    What a name has twice, `Johnson and Johnson`, stays.
    """
    words = spoken(text)
    if any(name in words and _TWICE.search(name) for name in names):
        return text
    text = _FIRST_AGAIN.sub(r"\1 and \2", text)
    return _TWICE.sub(r"\1", _LAST_TWICE.sub(r" and \1", text))


def _spoken_facets(items: Iterable[FusedItem]) -> set[str]:
    return {spoken(value) for item in items for value in item.facets()} - {""}


def _named(text: str, values: Iterable[str]) -> tuple[set[str], str]:
    """The values that a text names, and the rest; `blue` inside `Blue Ridge` is not named."""
    named, rest = set[str](), spoken(text)
    for value in sorted(filter(None, values), key=lambda value: (-len(value), value)):
        rest, count = re.subn(rf"(?<!\w){re.escape(value)}(?!\w)", ",", rest)
        if count:
            named.add(value)
    return named, rest


def _is_called(kind: str, words: str) -> bool:
    return bool(re.search(rf"\b(?:this|that|the|an?|another) {re.escape(kind)}(?!\w)", words))
