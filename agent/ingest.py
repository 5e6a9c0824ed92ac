"""`srec ingest`: take a shop in, and fuse every item that has no current representation."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.deployment import Deployment, model_of
from mllm_srec.agent.nodes.fuse_items import fuse, fuse_key, stale
from mllm_srec.agent.results import IngestReport, Progress
from mllm_srec.agent.state import Context
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.load import check_engine, engine_kind
from mllm_srec.llm.together import together
from mllm_srec.store.fields import shown
from mllm_srec.store.home import Home
from mllm_srec.store.intake import IntakeReport, check_files, load_shop
from mllm_srec.store.records import Item

BATCHES_UNDER_WAY = 3
"""One that the engine has, one that waits for it, and one that is prepared or stored."""


def ingest(
    home: Path,
    *,
    items: Path,
    interactions: Path | None = None,
    images: Path | None = None,
    limit_items: int | None = None,
    engine: str | Engine = "auto",
    model: Path | None = None,
    max_bad_share: float = 0.5,
    fuse_now: bool = True,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> IngestReport:
    """Load a shop, with or without interactions, into a home and fuse its items.

    Killed at any moment and run again, it ends with the same content.

    Raises:
        InputError: A file cannot be read, or more than `max_bad_share` of its rows are bad.
        HomeBusy: Another process writes to the home.
        ModelError: There is no such engine or model, or its server does not run, and nothing was
            taken; or the model could not be loaded, and what was read is kept.
    """
    started = time.perf_counter()
    if isinstance(engine, str):
        engine_kind(engine)
    check_files(items, interactions, images, now=time.time())
    with Home.open(home, create=True) as opened, opened.lock():
        if isinstance(engine, str) and fuse_now:
            check_engine(engine, opened.server_file)
        model_of(opened, model)
        taken = load_shop(
            opened,
            items=items,
            interactions=interactions,
            images=images,
            limit_items=limit_items,
            max_bad_share=max_bad_share,
            now=time.time(),
            progress=progress,
        )
    for file, names in taken.unread.items():
        say(f"not read in {file!r}, as no field is called so: {shown(list(names))}")
    if not fuse_now:
        return _report(taken, 0, 0, started, "none")
    with (
        Deployment.open(home, engine=engine, model=model, say=say) as deployment,
        deployment.home.lock(),
    ):
        fused, fallbacks = fuse_missing(deployment, progress)
        return _report(taken, fused, fallbacks, started, deployment.info.engine)


def fuse_missing(
    deployment: Deployment, progress: Progress = lambda stage, done, total: None
) -> tuple[int, int]:
    """Fuse the items that have no current representation; each batch is committed by itself.

    Returns:
        How many items of the whole catalogue have a representation now, and how many of these
        are plain forms.
    """
    context = deployment.context()
    if items := stale_items(context):
        deployment.run(_fuse_all(context, items, progress))
    catalogue = deployment.home.catalogue
    return catalogue.representation_count(), catalogue.fallback_count()


async def _fuse_all(context: Context, items: Sequence[Item], progress: Progress) -> None:
    """Keep some batches under way, so that the engine never waits for one."""
    size = context.settings.ingest_batch
    batches = iter([items[start : start + size] for start in range(0, len(items), size)])
    done = 0
    progress("fuse", done, len(items))

    async def work() -> None:
        nonlocal done
        for batch in batches:
            with context.run("ingest", inputs={"items": len(batch)}):
                await fuse(context, batch)
            done += len(batch)
            progress("fuse", done, len(items))

    await together(work() for _ in range(BATCHES_UNDER_WAY))


def rebuild_index(
    home: Path,
    *,
    engine: str | Engine = "auto",
    model: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Make all vectors again from the stored descriptions; returns how many.

    Raises:
        ModelError: The model could not be loaded.
        HomeBusy: Another process writes to the home.
    """
    with Deployment.open(home, engine=engine, model=model, say=say) as deployment:
        return make_vectors_anew(deployment, progress)


def make_vectors_anew(
    deployment: Deployment, progress: Progress = lambda stage, done, total: None
) -> int:
    """Replace all vectors by those of this deployment's model; returns how many.

    Raises:
        HomeBusy: Another process writes to the home.
    """
    home, batch = deployment.home, deployment.settings.ingest_batch
    facts = deployment.index_facts()
    # From the reading on: what another process described meanwhile would be left without a vector.
    with home.lock():
        entries = list(home.catalogue.representations().values())

        def batches() -> Iterator[tuple[list[str], NDArray[np.float32]]]:
            for start in range(0, len(entries), batch):
                progress("vectors", start, len(entries))
                part = entries[start : start + batch]
                lines = [entry.fused.line for entry in part]
                yield (
                    [entry.item_id for entry in part],
                    deployment.run(deployment.calls.embed(lines)),
                )

        return home.representations.rebuild(facts, batches())


def stale_items(context: Context) -> list[Item]:
    """Items whose representation is missing or was made from something else."""
    catalogue = context.home.catalogue
    return stale(catalogue.items(), catalogue.representations(), fuse_key(context))


def _report(
    taken: IntakeReport, fused: int, fallbacks: int, started: float, engine: str
) -> IngestReport:
    return IngestReport(
        items=taken.items,
        interactions=taken.interactions,
        users=taken.users,
        repeats=taken.repeats,
        partly_timed_users=taken.partly_timed_users,
        untimed_rows=taken.untimed_rows,
        fused=fused,
        rejected=taken.rejected,
        pictures_rejected=taken.pictures_rejected,
        texts_cut=taken.texts_cut,
        left_out=taken.left_out,
        fallbacks=fallbacks,
        seconds=time.perf_counter() - started,
        engine=engine,
        reject_file=str(taken.reject_file) if taken.reject_file else None,
    )
