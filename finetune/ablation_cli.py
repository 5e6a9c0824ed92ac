"""`srec finetune ablate`: what each part of the chain is worth, each variant trained for itself."""

# Bodies import what they need when they run (PLC0415): torch and TRL take seconds to load.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from mllm_srec.agent.cli_options import (
    DEFAULT_ENGINE,
    DEFAULT_HOME,
    Home,
    InProcess,
    Json,
    finite,
    names,
)
from mllm_srec.agent.terminal.output import Output
from mllm_srec.finetune.data_cli import RecipeName

ablation_app = typer.Typer()


@ablation_app.command("ablate")
def ablate(
    base: Annotated[Path, typer.Option(help="Model folder that every variant starts from.")],
    out: Annotated[Path, typer.Option(help="Work folder; the same one again goes on there.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Of training, of each run; the recipe's by default.", callback=finite
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    users: Annotated[int, typer.Option(min=5, help="Test users, and validation users.")] = 300,
    only: Annotated[
        str | None, typer.Option(help="Names of variants with commas; all by default.")
    ] = None,
    recipe: RecipeName = "ablation",
    home: Home = DEFAULT_HOME,
    engine: InProcess = DEFAULT_ENGINE,
    as_json: Json = False,
) -> None:
    """Train without each part of the chain, and compare."""
    with Output(as_json=as_json) as output:
        from rich.console import Console

        from mllm_srec.finetune.ablation.report import ablation_view, report_of
        from mllm_srec.finetune.ablation.runs import AblationPlan
        from mllm_srec.finetune.ablation.runs import ablate as run
        from mllm_srec.finetune.ablation.variants import chosen_variants
        from mllm_srec.finetune.training.progress import watched
        from mllm_srec.finetune.training.shipped_recipes import recipe_at
        from mllm_srec.llm.engine import Engine as LoadedEngine
        from mllm_srec.llm.load import load_engine, resolve_model

        def opened(model: Path) -> LoadedEngine:
            loaded = load_engine(engine, model)
            if loaded.note:
                output.note(loaded.note)
            return loaded.engine

        settings = recipe_at(recipe)
        if minutes is not None:
            settings = settings.lasting(minutes)
        plan = AblationPlan(
            base=resolve_model(base),
            recipe=settings,
            variants=chosen_variants(None if only is None else names(only)),
            seeds=seeds,
            users=users,
        )
        console = Console(stderr=True, highlight=False)
        with watched(console, output.note) as show:
            measured = run(home, out, plan, open_engine=opened, say=output.note, show=show)
        report = report_of(plan, measured)
        output.result(report.model_dump(), lambda _: ablation_view(report))
