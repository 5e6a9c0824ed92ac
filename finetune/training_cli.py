"""`srec finetune train` and `export`: from SFT records to a model that ships."""

# Bodies import what they need when they run (PLC0415): torch and TRL take seconds to load.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_HOME, Home, Json, finite
from mllm_srec.agent.terminal.output import Output, PlainProgress
from mllm_srec.finetune.data_cli import SREC_TINY, RecipeName

if TYPE_CHECKING:
    from mllm_srec.tools.ranking import Calibration

training_app = typer.Typer()

Minutes = Annotated[
    float | None,
    typer.Option(min=0.01, help="Of training; the recipe's by default.", callback=finite),
]


@training_app.command("train")
def train(
    data_folder: Annotated[Path, typer.Option("--data", help="Folder that `data` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the model.")],
    recipe: RecipeName = SREC_TINY,
    base: Annotated[
        Path | None,
        typer.Option(help="Model to start from: a folder, or a name in the Hugging Face cache."),
    ] = None,
    minutes: Minutes = None,
    resume: Annotated[bool, typer.Option("--resume", help="From the last checkpoint.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Check the SFT records, then train on them."""
    with Output(as_json=as_json) as output:
        from contextlib import nullcontext

        from rich.console import Console, Group

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.training.curves import curve_table, read_curves
        from mllm_srec.finetune.training.meter import unseen
        from mllm_srec.finetune.training.processes import leads
        from mllm_srec.finetune.training.progress import watched
        from mllm_srec.finetune.training.shipped_recipes import recipe_at
        from mllm_srec.finetune.training.start import require_start
        from mllm_srec.finetune.training.train import CURVES
        from mllm_srec.finetune.training.train import train as run
        from mllm_srec.finetune.training.trainer import LOG
        from mllm_srec.llm.load import resolve_model
        from mllm_srec.store.home import Home as StoredHome

        settings = recipe_at(recipe)
        require_start(settings, base, f"recipe {recipe!r}")
        if minutes is not None:
            settings = settings.lasting(minutes)
        console = Console(stderr=True, highlight=False)
        watching = watched(console, output.note) if leads() else nullcontext(unseen)
        with StoredHome.open(home) as opened, watching as show:
            report = run(
                settings,
                data_folder,
                opened.pictures.load,
                out,
                base=None if base is None else resolve_model(base),
                resume=resume,
                show=show,
                say=output.note,
                # In lines: the bar is the training's.
                progress=PlainProgress(output.note),
            )
        if not leads():
            return
        facts = {
            "model": str(report.folder),
            "best": None if report.best is None else str(report.best),
            "steps": report.steps,
            "tokens": report.tokens,
            "seconds": report.seconds,
            "dropped": report.dropped,
            "curves": str(out / CURVES),
            "validation": dict(report.validation),
        }
        curves = curve_table(read_curves(out / LOG))
        output.result(facts, lambda _: Group(facts_table(facts), curves))


@training_app.command("export")
def export(
    model: Annotated[Path, typer.Option(help="Folder of the trained model, or of adapters.")],
    out: Annotated[Path, typer.Option(help="Folder to write; a model there is replaced.")],
    name: Annotated[
        str | None, typer.Option(help="For the card; the name of the folder by default.")
    ] = None,
    calibrated_by: Annotated[
        Path | None, typer.Option(help="Home whose `combine` fitted the calibration to ship.")
    ] = None,
    max_mib: Annotated[
        float | None, typer.Option(help="Refuse to write more.", callback=finite)
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not compare vLLM with transformers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a trained model, once both engines agree on it.

    vLLM and transformers must score alike; the weights are written in 16 bits.
    """
    with Output(as_json=as_json) as output:
        from dataclasses import asdict
        from functools import partial

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.training.export import export as run
        from mllm_srec.finetune.training.parity import check_parity

        with output.progress() as progress:
            written = run(
                model,
                out,
                name=name,
                calibration=None if calibrated_by is None else _calibration(calibrated_by),
                max_bytes=None if max_mib is None else int(max_mib * 2**20),
                parity=None if unchecked else partial(check_parity, progress=progress),
            )
        report = {**asdict(written), "folder": str(out)}
        output.result(report, lambda _: facts_table(report))


def _calibration(home: Path) -> "Calibration":
    from mllm_srec.agent.deployment import WEIGHTS
    from mllm_srec.store.home import Home as StoredHome
    from mllm_srec.tools.ranking import CombineWeights

    with StoredHome.open(home) as opened:
        stored = opened.read_setting(WEIGHTS)
    if stored is None:
        raise typer.BadParameter(f"--calibrated-by {home}: run `srec finetune combine` there first")
    return CombineWeights.model_validate(stored["weights"]).calibration
