"""Which records make which batch: one task a batch, like lengths together, set shares."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset, Sampler

from mllm_srec.finetune.data.records import RecordError

# So many batches' worth of records are sorted by length together: enough for little padding,
# few enough to keep the order random.
_POOL = 16


Draw = tuple[int, int]
"""The number of a batch, and of a record in it."""


class Draws(Dataset[Draw]):
    """What a loader reads when its sampler says it all."""

    def __init__(self, records: int) -> None:
        self._records = records

    def __len__(self) -> int:
        return self._records

    def __getitem__(self, drawn: Draw) -> Draw:
        return drawn


class TaskBatches(Sampler[list[Draw]]):
    """Batches of records, as many as asked, the same for the same arguments.

    Every batch holds one task and about as many tokens as any other, padding included, so that the
    shares of the tasks are shares of the computing time.
    """

    def __init__(
        self,
        members: Mapping[str, Sequence[tuple[int, int]]],
        shares: Mapping[str, float],
        *,
        tokens: int,
        count: int,
        seed: int,
    ) -> None:
        """Plan the batches.

        Args:
            members: For each task the records, as (number, length in tokens).
            shares: For each task how much of the work it gets; they need not add up to 1.
            tokens: Most tokens of a batch; a longer record is a batch of its own.
            count: How many batches.
            seed: For the order.

        Raises:
            RecordError: A task has a share but no records.
        """
        empty = [task for task, share in shares.items() if share > 0 and not members.get(task)]
        if empty:
            raise RecordError(f"no records for {empty}: set their shares to 0 or make some")
        self._members = members
        self._shares = {task: share for task, share in shares.items() if share > 0}
        self._tokens = tokens
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[Draw]]:
        streams = {
            task: _endless(
                self._members[task], self._tokens, np.random.default_rng([self._seed, n])
            )
            for n, task in enumerate(self._shares)
        }
        whole = sum(self._shares.values())
        credit = dict.fromkeys(self._shares, 0.0)
        for batch in range(self._count):
            for task, share in self._shares.items():
                credit[task] += share / whole
            chosen = max(credit, key=lambda task: credit[task])
            credit[chosen] -= 1.0
            yield [(batch, number) for number in next(streams[chosen])]


def once(members: Sequence[tuple[int, int]], tokens: int) -> Iterator[list[int]]:
    """Batches that hold every record once, the shortest first."""
    return _fill(sorted(members, key=lambda member: member[1]), tokens)


def _endless(
    members: Sequence[tuple[int, int]], tokens: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Batches of endless epochs, each in an order of its own."""
    mean = sum(length for _, length in members) / len(members)
    pool = max(1, int(_POOL * tokens / mean))
    while True:
        order = rng.permutation(len(members))
        for start in range(0, len(order), pool):
            chosen = [members[index] for index in order[start : start + pool]]
            batches = list(_fill(sorted(chosen, key=lambda member: member[1]), tokens))
            for index in rng.permutation(len(batches)):
                yield batches[index]


def _fill(members: Sequence[tuple[int, int]], tokens: int) -> Iterator[list[int]]:
    """Cut records, sorted by length, into batches of at most so many padded tokens."""
    batch: list[int] = []
    for number, length in members:
        if batch and (len(batch) + 1) * length > tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
