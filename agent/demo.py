"""`srec demo`: from the sample shop to explained recommendations, every step on the screen."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import polars as pl

from mllm_srec.agent.cli_options import DEMO_HOME
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing, ingest, make_vectors_anew
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import IngestReport, Recommendation
from mllm_srec.agent.terminal.item_pictures import Pictures, home_pictures
from mllm_srec.agent.terminal.output import Output
from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.agent.terminal.views import ingest_view, next_steps, recommendation_screen
from mllm_srec.store.errors import IndexMismatch
from mllm_srec.store.home import Home

HISTORY = (12, 18)
"""Interactions of the user who is shown: some windows, and still one screen."""


def sample_shop() -> Path:
    """The folder of the shop that ships with the package."""
    return Path(str(files("mllm_srec.store"))) / "sample_shop"


def run_demo(
    out: Output,
    *,
    home: Path,
    user: str | None,
    k: int,
    engine: str,
    model: Path | None,
    pictures: bool,
) -> None:
    """Take the sample shop in, recommend to one of its users, and say what to type next."""
    started = time.perf_counter()
    out.note(f"sample shop in {home}")
    report = _take_in(out, home, model)
    out.note("loading the model ...")
    with Deployment.open(home, engine=engine, model=model, say=out.note) as deployment:
        fused, fallbacks = describe(out, deployment)
        report = replace(
            report,
            fused=fused,
            fallbacks=fallbacks,
            seconds=time.perf_counter() - started,
            engine=deployment.info.engine,
        )
        out.show(lambda _: ingest_view(report))
        srec = Recommender(deployment)
        result = srec.recommend(user or demo_user(deployment.home), k=k)
        source = home_pictures(deployment.home)
        out.result(
            {
                "home": str(deployment.home.path),
                "ingest": report.to_dict(),
                "recommendation": result.to_dict(),
            },
            lambda console: recommendation_screen(
                result, Pictures.on(console, source, wanted=pictures)
            ),
        )
        others = [each for each in _fit_users(deployment.home) if each != result.user]
    out.show(lambda _: next_steps(next_commands(home, result, others)))


def demo_user(home: Home) -> str:
    """A user with a history that fills a screen."""
    return next(iter(_fit_users(home)), home.catalogue.user_ids()[0])


def _fit_users(home: Home) -> list[str]:
    counts = home.catalogue.interactions_frame().group_by("user_id").len()
    fit = counts.filter(pl.col("len").is_between(*HISTORY)).sort("user_id")
    return [str(user_id) for user_id in fit["user_id"]]


def _take_in(out: Output, home: Path, model: Path | None) -> IngestReport:
    shop = sample_shop()
    with out.progress() as progress:
        return ingest(
            home,
            items=shop / "items.parquet",
            interactions=shop / "interactions.parquet",
            images=shop,
            fuse_now=False,
            model=model,
            progress=progress,
        )


def describe(out: Output, deployment: Deployment) -> tuple[int, int]:
    """Fuse what has no current description, after another version's model if need be."""
    with out.progress() as progress:
        try:
            return fuse_missing(deployment, progress)
        except IndexMismatch:
            out.note("another model described this shop before: describing it anew")
            make_vectors_anew(deployment, progress)
            return fuse_missing(deployment, progress)


def next_commands(
    home: Path, result: Recommendation, users: Sequence[str]
) -> list[tuple[str, str]]:
    """What to type next, each with what it is for.

    Args:
        home: Of the demo.
        result: What was shown.
        users: Others to recommend to.
    """
    at = f"--home {with_tilde(shlex.quote(str(home.expanduser())))}"
    trace_id, other = result.trace_id[:8], shlex.quote(users[0]) if users else "USER"
    again = f"srec demo {other}" if home == DEMO_HOME else f"srec demo {other} {at}"
    return [
        (f"{shlex.join(('srec', 'chat', '--user', result.user))} {at}", "talk about it"),
        (again, "another user of the sample shop"),
        (f"srec trace show {trace_id} {at}", "what the model was asked, and what it said"),
        (f"srec serve start {at}", "keep the model running, so that answers take seconds"),
        (f"srec recommend {other} {at}", "only the recommendation; --json for programs"),
        ("srec ingest --items FILE --interactions FILE --images DIR", "your own shop"),
    ]
