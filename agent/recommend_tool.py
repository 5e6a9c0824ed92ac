"""The recommendation graph as a tool: what `tools` ask of it, on top of a `Recommender`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mllm_srec.agent.assembly import preference, profile
from mllm_srec.agent.events import Listener, Recommended, afollow
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Profile, Recommendation
from mllm_srec.agent.state import State
from mllm_srec.store.home import Home
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import cards
from mllm_srec.tools.recommend import Suggestion, Suggestions


@dataclass(frozen=True, slots=True)
class Known:
    """What the graph knows of a user, without a list."""

    preference: str
    tastes: Mapping[str, tuple[str, ...]]
    """As in `Suggestions`."""


@dataclass(frozen=True, slots=True)
class GraphRecommend:
    """Runs the graph; see `tools.recommend.Recommend`."""

    srec: Recommender
    tell: Listener | None = None

    async def __call__(
        self,
        user_id: str,
        *,
        k: int,
        conditions: ItemFilter,
        candidates: Sequence[str] | None = None,
    ) -> Suggestions:
        """Recommend k items that meet the conditions."""
        events = self.srec.astream(user_id, k, conditions=conditions, candidates=candidates)
        async for event in events:
            if isinstance(event, Recommended):
                return suggestions(event.result, self.srec.deployment.home)
            if self.tell:
                self.tell(event)
        raise AssertionError("the stream ended without a list")

    async def known(self, user_id: str) -> Known:
        """What is known of a user: the graph as far as the profile."""
        srec = self.srec
        work = afollow(lambda tell: srec.deployment.start(srec.chain.profile(user_id, tell)))
        async for event in work:
            if isinstance(event, State):
                return Known(preference(event), _tastes(profile(event)))
            if self.tell:
                self.tell(event)
        raise AssertionError("the work ended without a profile")


def suggestions(result: Recommendation, home: Home) -> Suggestions:
    """A recommendation as tools hand it out."""
    known = {card.item_id: card for card in cards(home, [each.item_id for each in result.items])}
    return Suggestions(
        user=result.user,
        preference=result.preference,
        items=tuple(
            Suggestion(
                item_id=each.item_id,
                title=known[each.item_id].title,
                line=each.line,
                price=known[each.item_id].price,
                rank=rank,
                score=each.score,
                retrieval_rank=each.retrieval_rank,
                reason=each.reason,
                evidence=each.evidence,
            )
            for rank, each in enumerate(result.items, 1)
        ),
        tastes=_tastes(result.profile),
        notes=result.notes,
        trace_id=result.trace_id,
        engine=result.engine,
    )


def _tastes(stable: Profile) -> dict[str, tuple[str, ...]]:
    return {f"{each.strength} {each.facet}": each.evidence for each in stable.statements}
