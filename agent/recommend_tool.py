"""The recommendation graph as a tool: what `tools` ask of it, on top of a `Recommender`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mllm_srec.agent.assembly import preference, profile
from mllm_srec.agent.events import Listener
from mllm_srec.agent.nodes.score_targets import last_preference
from mllm_srec.agent.recommender import Recommender, Request
from mllm_srec.agent.results import Profile, Recommendation
from mllm_srec.store.home import Home
from mllm_srec.tools.filters import ItemFilter
from mllm_srec.tools.items import cards
from mllm_srec.tools.recommend import Suggestion, Suggestions


@dataclass(frozen=True, slots=True)
class Known:
    """What the graph knows of a user, without a list."""

    preference: str
    lately: Mapping[str, tuple[str, ...]]
    """The preference as values by degree and direction: `"strong"`, ..., `"rising"`, ..."""
    profile: Profile

    @property
    def tastes(self) -> dict[str, tuple[str, ...]]:
        """As in `Suggestions`."""
        return _tastes(self.profile)


@dataclass(frozen=True, slots=True)
class GraphRecommend:
    """Runs the graph, on its loop; see `tools.recommend.Recommend`."""

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
        request = Request.of(user_id, conditions=conditions, candidates=candidates)
        result = await self.srec.answer(request, k, tell=self.tell)
        return suggestions(result, self.srec.deployment.home)

    async def known(self, user_id: str) -> Known:
        """What is known of a user: the graph as far as the profile."""
        state = await self.srec.chain.profile(user_id, self.tell)
        lately = {name: tuple(values) for name, values in last_preference(state) if values}
        return Known(preference(state), lately, profile(state))


def suggestions(result: Recommendation, home: Home) -> Suggestions:
    """A recommendation as tools hand it out, without what was deleted meanwhile."""
    known = {card.item_id: card for card in cards(home, [each.item_id for each in result.items])}
    items = [each for each in result.items if each.item_id in known]
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
            for rank, each in enumerate(items, 1)
        ),
        tastes=_tastes(result.profile),
        notes=result.notes,
        trace_id=result.trace_id,
        engine=result.engine,
    )


def _tastes(stable: Profile) -> dict[str, tuple[str, ...]]:
    return {f"{each.strength} {each.facet}": each.evidence for each in stable.statements}
