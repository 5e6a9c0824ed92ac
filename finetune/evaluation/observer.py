"""The reference observer: what can be known of a user's taste from the visible history alone.

It knows the items' true attributes, popularity (from the training part) and the form of the law:
which attributes drift, how many values of each a user likes or dislikes, and how strongly. It does
not know any user's taste; that it infers from the history by the law's choice likelihood, with
older interactions counting less in the attributes that drift, and low ratings counting against
their values. How far to trust each of these is tuned on validation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp

from mllm_srec.finetune.shop.law import DRIFTING, SEEN, TOLD, Features, Floats, Ints, Law
from mllm_srec.finetune.shop.vocabulary import ItemTruth
from mllm_srec.store.records import Interaction

LIKED = 4
"""Lowest rating that speaks for an item's values."""
DISLIKED = 2
"""Highest rating that speaks against them."""
LUKEWARM = 0.3
"""Weight of a pick rated between the two."""
STEPS, DAMPING = 8, 0.6
"""Rounds of the estimate, and how far each goes; more rounds change no NDCG by .003."""
BASE = 4_096
"""Items that stand for the catalogue in the likelihood where it has more."""
BLOCK = 2_000
"""Users estimated at once."""

History = Sequence[Interaction]


@dataclass(frozen=True, slots=True)
class View:
    """What the observer may look at; each switch off is one ablation."""

    seen: bool = True
    """The attributes that only the picture shows."""
    told: bool = True
    """The attributes that only the text tells."""
    ordered: bool = True
    """The order of time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is tuned on validation."""

    half_life: float = 4.0
    """Interactions after which one counts half, in the attributes that drift."""
    floor: float = 0.05
    """Weight that is left however old an interaction is."""
    strength: float = 0.4
    """Factor of the law's strengths: below 1, since a history is noisier than the law alone."""
    likes: float = 2.0
    """Factor of the law's chance that a value is liked."""
    dislike: float = 0.5
    """Weight of a low rating against an item's values."""
    popularity: float = 0.5
    """Factor of log popularity in the choice."""


GRID: dict[str, tuple[float, ...]] = {
    "half_life": (2.5, 4, 6, 10),
    "strength": (0.3, 0.4, 0.5, 0.65),
    "likes": (1, 2, 3),
    "floor": (0, 0.05, 0.15),
    "dislike": (0, 0.5, 1),
    "popularity": (0.3, 0.5, 0.75),
}
"""Values tried, one setting after another, each with the best of those before."""


@dataclass(frozen=True)
class Evidence:
    """Histories as arrays, one entry for each of the E interactions of U users."""

    users: int
    user: Ints
    """(E,), 0 to U - 1."""
    item: Ints
    """(E,), rows of the items."""
    rating: Floats
    """(E,); what was not rated counts as liked."""
    age: Floats
    """(E,), interactions of the user since then."""


@dataclass(frozen=True)
class Observer:
    """An observer of histories; make one with `fit`."""

    law: Law
    place: dict[str, int]
    """Row of each item."""
    features: Features
    log_popularity: Floats
    """(N,), from the training part."""
    view: View
    settings: Settings

    @classmethod
    def fit(
        cls,
        items: Sequence[ItemTruth],
        train: Sequence[Interaction],
        validation: Sequence[tuple[History, str]],
        view: View | None = None,
    ) -> "Observer":
        """Count popularity on the training part and tune the settings on validation.

        Args:
            items: True items; scores follow their order.
            train: Training interactions of all users.
            validation: What precedes each user's validation target, and the target's item_id.
            view: What may be looked at; everything when None.
        """
        place = {item.item_id: row for row, item in enumerate(items)}
        counts = np.ones(len(items))
        np.add.at(counts, [place[one.item_id] for one in train], 1)
        popularity = np.log(counts / counts.sum()).astype(np.float32)
        observer = cls(Law(), place, Features.of(items), popularity, view or View(), Settings())
        evidence = observer._encode([history for history, _ in validation])
        targets = np.array([place[target] for _, target in validation], dtype=np.int64)
        return observer._tuned(evidence, targets)

    def scores(self, histories: Sequence[History]) -> Floats:
        """Score all items for each history.

        Returns:
            (U, N), log probability of being picked next; seen items are not left out.
        """
        return self._score(self._encode(histories))

    def tastes(self, histories: Sequence[History]) -> Floats:
        """Estimate the present taste behind each history: (U, D) utilities."""
        return self._estimate(*self._sums(self._encode(histories)))

    def _encode(self, histories: Sequence[History]) -> Evidence:
        sizes = np.array([len(history) for history in histories], dtype=np.int64)
        every = [one for history in histories for one in history]
        ages = [np.arange(size)[::-1] for size in sizes]
        return Evidence(
            users=len(sizes),
            user=np.repeat(np.arange(len(sizes)), sizes),
            item=np.array([self.place[one.item_id] for one in every], dtype=np.int64),
            rating=np.array(
                [LIKED if one.rating is None else one.rating for one in every], dtype=np.float32
            ),
            age=np.concatenate([*ages, np.zeros(0)]).astype(np.float32),
        )

    def _tuned(self, evidence: Evidence, targets: Ints) -> "Observer":
        """Try the grid, one setting at a time, for the best ranks of the targets."""
        best, found = self, self._fitness(evidence, targets)
        for name, values in GRID.items():
            for value in values:
                settings = replace(best.settings, **{name: value})
                if settings == best.settings:
                    continue
                trial = replace(best, settings=settings)
                fitness = trial._fitness(evidence, targets)
                if fitness > found:
                    best, found = trial, fitness
        return best

    def _fitness(self, evidence: Evidence, targets: Ints) -> float:
        """Average the rank discount of the targets: NDCG without its cut-off, hence smoother."""
        scores = self._score(evidence)
        scores[evidence.user, evidence.item] = -np.inf
        own = scores[np.arange(len(targets)), targets]
        ranks = (scores > own[:, None]).sum(axis=1)
        return float((1 / np.log2(ranks + 2)).sum())

    def _score(self, evidence: Evidence) -> Floats:
        logits = self._estimate(*self._sums(evidence)) @ self.features.matrix.T
        logits += self.settings.popularity * self.log_popularity
        return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True))

    def _sums(self, evidence: Evidence) -> tuple[Floats, Floats]:
        """Weigh the values in each history.

        Returns:
            (U, D) weighted sums of values picked, less those of low ratings; (U, D) total weights
            of what was picked.
        """
        settings, matrix = self.settings, self.features.matrix
        drifting = np.zeros(matrix.shape[1], dtype=np.bool_)
        drifting[self.features.columns(DRIFTING)] = self.view.ordered
        recent = settings.floor + (1 - settings.floor) * 0.5 ** (evidence.age / settings.half_life)
        picked = np.select([evidence.rating >= LIKED, evidence.rating > DISLIKED], [1, LUKEWARM])
        refused = settings.dislike * (evidence.rating <= DISLIKED)

        def add(weights: Floats, values: Floats) -> Floats:
            shape, places = (evidence.users, len(values)), (evidence.user, evidence.item)
            late, all_time = (
                csr_array((each.astype(np.float32), places), shape=shape) @ values
                for each in (weights * recent, weights)
            )
            return np.where(drifting, late, all_time)

        unusual = matrix - matrix.mean(axis=0)
        return add(picked, matrix) - add(refused, unusual), add(picked, np.ones_like(matrix))

    def _estimate(self, sums: Floats, totals: Floats) -> Floats:
        """Infer tastes from what `_sums` gives: (U, D), block by block."""
        blocks = [
            self._infer(sums[start : start + BLOCK], totals[start : start + BLOCK])
            for start in range(0, len(sums), BLOCK)
        ]
        return np.concatenate([*blocks, np.zeros((0, sums.shape[1]), dtype=np.float32)])

    def _infer(self, sums: Floats, totals: Floats) -> Floats:
        """Find each value's expected utility, given the others', until they agree.

        A value is liked, disliked or neither, with the law's prior chances and strengths. Its
        weighted share of the picks, against the share it would have if nobody cared, gives the odds
        of the three. With a Gaussian prior instead, NDCG was half as high: tastes are few strong
        likes, and it spreads them thin.
        """
        base = self._base()
        matrix = self.features.matrix[base]
        pull = self.settings.popularity * self.log_popularity[base]
        strength, liked, disliked = self._prior()
        neither = 1 - liked - disliked
        taste = np.zeros_like(sums)
        for _ in range(STEPS):
            logits = taste @ matrix.T + pull
            expected = np.exp(logits - logsumexp(logits, axis=1, keepdims=True)) @ matrix
            odds = expected / np.maximum(1 - expected, 1e-5) * np.exp(-taste)
            share = odds / (1 + odds)
            gain = sums * strength - totals * np.log1p(share * np.expm1(strength))
            loss = -sums * strength - totals * np.log1p(share * np.expm1(-strength))
            # Odds beyond e^30 are certainty, and exp() would overflow.
            up, down = liked * np.exp(gain.clip(-30, 30)), disliked * np.exp(loss.clip(-30, 30))
            taste += DAMPING * (strength * (up - down) / (up + down + neither) - taste)
        return np.asarray(taste)

    def _prior(self) -> tuple[Floats, Floats, Floats]:
        """Give the strength of each value, and the chances that it is liked and disliked: (D,)."""
        names = self.features.names
        counts = Counter(attribute for attribute, _ in names)
        shown = (SEEN if self.view.seen else ()) + (TOLD if self.view.told else ())
        rows = []
        for attribute, _ in names:
            likes = self.law.tastes[attribute]
            share = likes.share / counts[attribute] if attribute in shown else 0
            liked = min(self.settings.likes * share * likes.likes, 0.45)
            rows.append((likes.strength, liked, min(share * likes.dislikes, 0.45)))
        strength, liked, disliked = np.array(rows, dtype=np.float32).T
        return self.settings.strength * strength, liked, disliked

    def _base(self) -> Ints:
        """Choose the items that stand for the catalogue in the likelihood."""
        count = len(self.log_popularity)
        if count <= BASE:
            return np.arange(count)
        return np.sort(np.random.default_rng(0).permutation(count)[:BASE])
