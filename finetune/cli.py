"""The commands that make and measure: `srec finetune`, `srec evaluate`, `srec sample-shop`."""

# Bodies import what they need when they run (PLC0415): torch and TRL take seconds to load.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mllm_srec.agent.cli_options import (
    DEFAULT_ENGINE,
    DEFAULT_HOME,
    HELP,
    Engine,
    Home,
    Json,
    Model,
    finite,
    group,
    names,
)
from mllm_srec.agent.terminal.output import Output
from mllm_srec.finetune.ablation_cli import ablation_app
from mllm_srec.finetune.data.settings import (
    DayOrder,
    RankingProtocol,
    SplitBy,
    SplitHow,
    SplitPart,
)
from mllm_srec.finetune.data_cli import data_app
from mllm_srec.finetune.training_cli import training_app


def _command(name: str) -> typer.Typer:
    """A command of its own, without commands below it."""
    return typer.Typer(
        name=name,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=HELP,
    )


finetune_app = group("finetune", "Make data, train, evaluate, combine and export a model.")
measuring_app = typer.Typer()
# As help lists them: in the order in which a model is made and measured.
for part in (data_app, training_app, measuring_app, ablation_app):
    finetune_app.add_typer(part)
evaluate_app = _command("evaluate")
sample_shop_app = _command("sample-shop")

Choice = TypeVar("Choice", bound=str)
Truth = Annotated[
    Path | None, typer.Option(help="The folder `truth` of a drawn shop, for what needs it.")
]
Part = Annotated[SplitPart, typer.Option(help="What is measured on.")]
SplitByName = Annotated[SplitBy, typer.Option(help="Of each user, or by time: one cut for all.")]
Targets = Annotated[int, typer.Option(min=1, help="Successive test targets of a user, at most.")]
Png = Annotated[Path | None, typer.Option(help="Draw a picture to this file.")]


@measuring_app.command("combine")
def combine(
    home: Home = DEFAULT_HOME,
    users: Annotated[int | None, typer.Option(min=5, help="So many; all by default.")] = None,
    split_by: SplitByName = "user",
    targets: Targets = 1,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Fit calibration and weights on the validation part."""
    with Output(as_json=as_json) as output:
        from mllm_srec.agent.deployment import Deployment
        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.data.splits import split_home
        from mllm_srec.finetune.evaluation.graph_ranking import GraphRanker, combine_home, stored

        how = SplitHow(split_by, targets)
        with (
            Deployment.open(home, engine=engine, model=model, say=output.note) as deployment,
            output.progress() as progress,
        ):
            liked = deployment.settings.liked_rating
            split = split_home(deployment.home, min_rating=liked, **how._asdict())
            # What is kept may be of another version: it is replaced.
            unfitted = deployment.unfitted_weights()
            ranker = GraphRanker(deployment, split, weights=unfitted, progress=progress)
            fitted = combine_home(ranker, users=users, how=how)
            facts = stored(fitted, ranker, how)
        if not fitted.weights.model:
            output.note(
                "the model's score gets no weight in the order of this home: what it gained on "
                f"{fitted.users} validation users is within one standard error of nothing"
            )
        output.result(facts, lambda _: facts_table(facts))


@measuring_app.command("evaluate")
def evaluate_chain(
    home: Home = DEFAULT_HOME,
    truth: Annotated[
        Path | None,
        typer.Option(help="The folder `truth` of a drawn shop, or labels of held-out items."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Warm users, and cold ones; all by default.")
    ] = None,
    split: Part = "test",
    split_by: SplitByName = "user",
    pairs: Annotated[int, typer.Option(min=1, help="Labelled pairs, at least, to score.")] = 20_000,
    png: Png = None,
    messages: Annotated[
        Path | None, typer.Option(help="Messages to understand, JSON lines with their meaning.")
    ] = None,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Measure each step of the chain."""
    with Output(as_json=as_json) as output:
        from mllm_srec.agent.recommender import Recommender
        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.evaluation import chain as chain_evaluation
        from mllm_srec.finetune.evaluation.charts import draw_reliability, require_drawable

        if png is not None:
            require_drawable(png)
        options = chain_evaluation.ChainOptions(
            truth=truth,
            part=split,
            split_by=split_by,
            users=users,
            pairs=pairs,
            messages=messages,
        )
        with (
            Recommender.open(home, engine=engine, model=model, say=output.note) as srec,
            output.progress() as progress,
        ):
            report = chain_evaluation.evaluate_chain(srec, options, progress)
        output.result(report.figures, lambda _: facts_table(report.figures))
        if png is not None and report.reliability:
            draw_reliability(report.reliability, report.figures["scoring"]["ece"], png)
        elif png is not None:
            output.note(f"no pairs were scored: nothing is drawn to {str(png)!r}")


def _one_of(option: str, given: str, *choices: Choice) -> Choice:
    for choice in choices:
        if choice == given:
            return choice
    raise typer.BadParameter(f"{option} {given!r}: say {' or '.join(choices)}")


@sample_shop_app.command("sample-shop")
def sample_shop(
    out: Annotated[
        Path, typer.Option(help="Folder to write to, without a shop in it; made when missing.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another shop.")] = 1,
    items: Annotated[int, typer.Option(min=64, help="How many items.")] = 1600,
    users: Annotated[int, typer.Option(min=10, help="How many users.")] = 2000,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the pictures of the items.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Draw a shop: items, pictures, users, labels, and the truth apart."""
    with Output(as_json=as_json) as output:
        from mllm_srec.finetune.shop.make import make_shop

        with output.progress() as progress:
            make_shop(seed, items, users, out, pictures=pictures, progress=progress)
        output.result({"out": str(out)}, lambda _: f"drawn to {out}")


@evaluate_app.command("evaluate")
def evaluate(
    home: Home = DEFAULT_HOME,
    split: Part = "test",
    protocol: Annotated[
        RankingProtocol, typer.Option(help="Among all items; sampled: among 1 and 20 others.")
    ] = "full",
    split_by: SplitByName = "user",
    day_order: Annotated[
        DayOrder, typer.Option(help="As the log has it; shuffled: in several orders inside a day.")
    ] = "published",
    min_rating: Annotated[
        float | None, typer.Option(help="Lowest rating that is a like.", callback=finite)
    ] = None,
    users: Annotated[int | None, typer.Option(min=1, help="So many; all by default.")] = None,
    targets: Targets = 1,
    rows: Annotated[
        str | None, typer.Option(help="Names of rows with commas; all by default.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A row without picture, text, temporal, profile or chain; may be repeated."
        ),
    ] = None,
    truth: Truth = None,
    png: Png = None,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Rank for held-out users: the graph, its retrieval alone, and simple baselines."""
    with Output(as_json=as_json) as output:
        from dataclasses import replace

        from mllm_srec.agent.state import Settings
        from mllm_srec.finetune.evaluation.charts import draw_comparison, require_drawable
        from mllm_srec.finetune.evaluation.ranking import RankingOptions, evaluate_home
        from mllm_srec.finetune.evaluation.report_view import report_view

        if png is not None:
            require_drawable(png)
        settings = Settings()
        if min_rating is not None:
            disliked = min(settings.disliked_rating, min_rating - 0.5)
            settings = replace(settings, liked_rating=min_rating, disliked_rating=disliked)
        options = RankingOptions(
            part=split,
            protocol=protocol,
            split_by=split_by,
            day_order=day_order,
            users=users,
            targets=targets,
            rows=None if rows is None else names(rows),
            without=tuple(
                _one_of("--without", part, "picture", "text", "temporal", "profile", "chain")
                for part in dict.fromkeys(without or ())
            ),
            truth=truth,
        )
        with output.progress() as progress:
            report = evaluate_home(
                home,
                options,
                settings=settings,
                engine=engine,
                model=model,
                say=output.note,
                progress=progress,
            )
        output.result(report.model_dump(), lambda _: report_view(report))
        if png is not None:
            draw_comparison(report, png)
