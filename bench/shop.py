"""What the measures share: a part of the sample shop in a home, one vLLM engine, a server."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.demo import sample_shop
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing, ingest
from mllm_srec.agent.state import Settings
from mllm_srec.llm import server
from mllm_srec.llm.engine import Answer, EngineInfo, LabelScores, Prompt, Usage
from mllm_srec.llm.vllm_engine import VLLMEngine
from mllm_srec.store.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Call:
    """What the product asked of the engine at once."""

    prompts: Sequence[Prompt]
    max_tokens: int = 1
    labels: Sequence[str] = ()
    seconds: float = 0.0
    """What the engine took for it."""
    usages: Sequence[Usage] = ()
    """Tokens of each prompt."""


class HeardEngine:
    """The vLLM engine, with what it is asked noted down."""

    def __init__(self, inner: VLLMEngine) -> None:
        self.inner = inner
        self.calls: list[Call] = []
        """Since it was last cleared."""

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self.inner.info

    @property
    def llm(self) -> Any:
        """The `vllm.LLM` below."""
        return self.inner.llm

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """See `Engine.generate`."""
        started = time.perf_counter()
        answers = self.inner.generate(prompts, max_tokens=max_tokens)
        taken = time.perf_counter() - started
        usages = [answer.usage for answer in answers]
        self.calls.append(Call(prompts, max_tokens, seconds=taken, usages=usages))
        return answers

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """See `Engine.stream`."""
        return self.inner.stream(prompt, max_tokens=max_tokens)

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """See `Engine.score_labels`."""
        started = time.perf_counter()
        scores = self.inner.score_labels(prompts, labels)
        taken = time.perf_counter() - started
        usages = [score.usage for score in scores]
        self.calls.append(Call(prompts, labels=labels, seconds=taken, usages=usages))
        return scores

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""
        return self.inner.embed(texts)

    def close(self) -> None:
        """See `Engine.close`."""
        self.inner.close()

    def forget(self) -> None:
        """Empty vLLM's caches of prompts and pictures, so that nobody profits from the last."""
        self.llm.reset_prefix_cache()
        self.llm.reset_mm_cache()


class Shop:
    """Part of the sample shop: those of its items that have most interactions."""

    def __init__(self, folder: Path, model: Path, items: int) -> None:
        self.model = model
        self.items = items
        self._folder = folder
        self._homes = 0

    @cached_property
    def engine(self) -> HeardEngine:
        """The one engine of this process."""
        return HeardEngine(VLLMEngine(self.model))

    @cached_property
    def _loaded(self) -> Path:
        """A home that holds the shop, nothing fused."""
        home, source = self._folder / "loaded", sample_shop()
        ingest(
            home,
            items=source / "items.parquet",
            interactions=source / "interactions.parquet",
            images=source,
            limit_items=self.items,
            fuse_now=False,
        )
        return home

    @cached_property
    def _fused(self) -> Path:
        """A home with all items fused and nothing else asked."""
        home = self.fresh_home()
        with self.deployment(home) as deployment, deployment.home.lock():
            fuse_missing(deployment)
        return home

    def fresh_home(self, *, fused: bool = False) -> Path:
        """A home of its own for one repetition."""
        source = self._fused if fused else self._loaded
        self._homes += 1
        return shutil.copytree(source, self._folder / f"home{self._homes}")

    @contextmanager
    def deployment(self, home: Path, settings: Settings | None = None) -> Iterator[Deployment]:
        """A home on top of the shared engine."""
        with Deployment.open(
            home, engine=self.engine, model=self.model, settings=settings
        ) as opened:
            yield opened

    def close(self) -> None:
        """Close the engine, if it was loaded."""
        if "engine" in self.__dict__:
            self.engine.close()


def users_with(
    catalogue: Catalogue, least: int, most: int | None = None, *, wanted: int
) -> list[str]:
    """Users with at least, and where told at most, so many interactions, in the order of their ids.

    Raises:
        RuntimeError: There are fewer than wanted.
    """
    counts = catalogue.interactions_frame().group_by("user_id").len()
    fit = counts.filter(counts["len"].is_between(least, most or counts["len"].max()))
    users: list[str] = fit.sort("user_id")["user_id"].to_list()
    if len(users) < wanted:
        raise RuntimeError(
            f"{wanted} users with {least} to {most or 'any number of'} interactions are wanted, "
            f"and there are {len(users)}: more --items"
        )
    return users


def tokens(calls: Sequence[Call], among: int) -> dict[str, float]:
    """Tokens that calls cost, shared among so many.

    Of the prompts those that the prefix cache did not have; those written; and, since each token
    that is written attends to all before it, the sum of these.
    """
    usages = [usage for call in calls for usage in call.usages]
    computed = sum(usage.prompt_tokens - (usage.cached_tokens or 0) for usage in usages)
    written = sum(usage.completion_tokens for usage in usages)
    attended = sum(
        usage.completion_tokens * (usage.prompt_tokens + usage.completion_tokens / 2)
        for usage in usages
    )
    return {
        "prompt_tokens": computed / among,
        "completion_tokens": written / among,
        "attended_tokens": attended / among,
    }


@contextmanager
def served(model: Path, folder: Path) -> Iterator[Path]:
    """A vLLM server of its own for the length of the block; yields its server file."""
    file = folder / "server.json"
    server.start(model, file)
    try:
        yield file
    finally:
        server.stop(file)
