"""When drawn users pick something: how often, and from when to when."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mllm_srec.finetune.shop.vocabulary import DAYS
from mllm_srec.store.records import DAY_S

START = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp())
"""First second of the shop's year."""

COLD_SHARE = 0.1
"""Share of the users with 1 to 3 interactions before their last two liked ones."""
MEAN_SIZE, SMALLEST, LARGEST = 17.5, 8, 60
"""Interactions of a user who is not cold: aim of the mean, and the bounds."""


@dataclass(frozen=True)
class Calendars:
    """When each user picks something."""

    days: list[NDArray[np.float64]]
    """Rising days since the start of the year, one array a user."""
    cold: NDArray[np.bool_]


def draw_calendars(rng: np.random.Generator, users: int, largest: int) -> Calendars:
    """Draw how often and when users pick: long-tailed sizes, spans from weeks to the year."""
    cold = np.zeros(users, dtype=np.bool_)
    cold[rng.permutation(users)[: round(users * COLD_SHARE)]] = True
    spread = 0.6
    typical = np.log(MEAN_SIZE - SMALLEST + 0.5) - spread**2 / 2
    sizes = SMALLEST + rng.lognormal(typical, spread, users).astype(np.int64)
    sizes = np.where(cold, rng.integers(3, 6, users), sizes.clip(SMALLEST, largest))
    first = np.where(cold, rng.uniform(0, 300, users), rng.uniform(0, 180, users))
    stopped = rng.random(users) < 0.25
    last = DAYS - stopped * rng.uniform(0, 0.5, users) * (DAYS - first)
    days = []
    for size, start, end in zip(sizes, first, last, strict=True):
        # Whole seconds without repetition, so that a user's order is never in doubt.
        seconds = np.unique(rng.integers(int(start * DAY_S), int(end * DAY_S), 2 * size + 8))
        days.append(np.sort(rng.permutation(seconds)[:size]) / DAY_S)
    return Calendars(days, cold)
