"""One run in several processes, one a GPU, as `accelerate launch` and `torchrun` start them.

Every process learns from other batches, and the gradients are averaged before each step. The first
process alone writes files, shows progress and prints the result.
"""

import os

import torch
from accelerate import PartialState
from accelerate.utils import broadcast


def gather() -> None:
    """Join the other processes of this run, if there are any."""
    if processes() > 1:
        # transformers makes the same state again, and keeps the group that is there.
        PartialState(cpu=not torch.cuda.is_available())


def processes() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one that writes and tells."""
    return processes() == 1 or os.environ.get("RANK") == "0"


def wait() -> None:
    """Wait until all processes are here."""
    if processes() > 1:
        PartialState().wait_for_everyone()


def agreed(value: float) -> float:
    """The value of the first process."""
    if processes() == 1:
        return value
    return float(broadcast(torch.tensor(value, dtype=torch.float64, device=PartialState().device)))
