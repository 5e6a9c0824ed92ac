"""The history of one user as a model tells it, in the place of the counted forms."""

from collections.abc import Iterator, Mapping, Sequence

from mllm_srec.agent.ask import Question
from mllm_srec.agent.nodes import explain, profile_user, summarize_preferences
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.reason_check import CheckedReason, CitedReason, spoken_kinds
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.agent.state import Event, Settings
from mllm_srec.finetune.data.records import Record
from mllm_srec.finetune.data.teacher import Historian, Taste
from mllm_srec.store.records import FusedItem


class ModelHistorian(Historian):
    """Asks for every text of the chain, and remembers what was answered."""

    def __init__(
        self, events: Sequence[Event], fused: Mapping[str, FusedItem], settings: Settings
    ) -> None:
        super().__init__(events, fused, settings)
        self.preferences: dict[int, Preference] = {}
        """The answer of the last window, by the length of the history."""
        self.profiles: dict[int, Profile] = {}
        self.reasons: dict[int, CitedReason] = {}
        self._taught: set[int] = set()

    def whole_windows(self, stop: int) -> int:
        """How many whole windows lie before the last one of a history of this length."""
        return (stop - 1) // self.settings.window_step

    def before(self, stop: int) -> Preference:
        """The preference that the model carried into the window that ends at `stop`."""
        return self.states[self.whole_windows(stop)]

    def preference(self, stop: int) -> Preference:
        """What the model said of the last window."""
        return self.preferences[stop]

    def profile(self, stop: int) -> Profile:
        """What the model said of the whole history."""
        return self.profiles[stop]

    def reason(self, stop: int, item: FusedItem) -> CitedReason:
        """What the model said of the item that was liked next."""
        return self.reasons[stop]

    def is_told(self, stop: int) -> bool:
        """Whether the model told the history that ends there."""
        return stop in self.preferences

    def state_question(self, number: int) -> Question[Preference]:
        """What is preferred after a whole window, given the answer about the one before?"""
        window = self.whole_window(number)
        return summarize_preferences.question(self.states[number - 1], window, self.fused)

    def preference_question(self, stop: int) -> Question[Preference]:
        """What is preferred at the end of this history?"""
        return summarize_preferences.question(self.before(stop), self.window(stop), self.fused)

    def profile_question(self, stop: int) -> Question[Profile]:
        """What is stable in this history?"""
        return profile_user.question(self.events[:stop], self.fused)

    def reason_question(self, stop: int, item: FusedItem) -> Question[CheckedReason]:
        """Why does the item suit the user?"""
        exhibits = explain.exhibits_for(item, self.events[:stop], self.fused)
        taste = self.taste(stop)
        kinds = spoken_kinds(frozenset(each.what for each in self.fused.values()))
        return explain.question(taste.profile, taste.preference, exhibits, item, kinds=kinds)

    def chain_records(self, stop: int, item: FusedItem) -> Iterator[Record]:
        """Yield what the model said on the way to this point; a whole window once."""
        for number in range(1, self.whole_windows(stop) + 1):
            if number not in self._taught:
                self._taught.add(number)
                text = compact(self.states[number].model_dump())
                prompt = self.state_question(number).prompt
                yield Record.of("summarize_preferences", prompt, text)
        yield self.window_record(stop)
        yield self.profile_record(stop)
        if stop in self.reasons:
            yield self.explain_record(stop, item)


class ServedHistorian(Historian):
    """Teaches the counted forms, and scores on what the model itself says, where it was asked.

    That is what a score stands on when the model serves.
    """

    def __init__(
        self, events: Sequence[Event], fused: Mapping[str, FusedItem], settings: Settings
    ) -> None:
        super().__init__(events, fused, settings)
        self.told = ModelHistorian(events, fused, settings)

    def taste(self, stop: int) -> Taste:
        """What the model said; the counted forms where it was not asked, or said nothing usable."""
        return self.told.taste(stop) if self.told.is_told(stop) else super().taste(stop)
