"""`srec finetune data` and `check`: what a model is to learn from."""

# Bodies import what they need when they run (PLC0415): torch and TRL take seconds to load.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_ENGINE, DEFAULT_HOME, Home, Json
from mllm_srec.agent.terminal.output import Output
from mllm_srec.finetune.data.settings import MESSAGES, Form, SplitBy, SplitHow
from mllm_srec.llm.engine_kinds import InProcessKind

data_app = typer.Typer()

RecipeName = Annotated[
    str, typer.Option(help="A TOML file, or the name of a shipped recipe; see finetune/recipes.")
]
SREC_TINY = "srec-tiny"


@data_app.command("data")
def data(
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, validation.jsonl.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="What annotators said of the training items; else the text fields."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A bigger model that answers in their place.")
    ] = None,
    tastes_by: Annotated[
        Path | None,
        typer.Option(help="A model that tells what some scores stand on, as when it serves."),
    ] = None,
    engine: Annotated[InProcessKind, typer.Option(help="What loads that model.")] = DEFAULT_ENGINE,
    from_traces: Annotated[
        bool,
        typer.Option("--from-traces", help="From turns annotated good and bad, not from the log."),
    ] = False,
    messages: Annotated[
        int, typer.Option(min=0, help="What users say to an assistant, drawn from a grammar.")
    ] = MESSAGES,
    form: Annotated[
        Form,
        typer.Option(help="For ours, for TRL, for LLaMA-Factory and ms-swift."),
    ] = "groups",
    split_by: Annotated[
        SplitBy, typer.Option(help="As the model is to be evaluated: no test case is learned from.")
    ] = "user",
    targets: Annotated[int, typer.Option(min=1, help="As in `srec evaluate`, likewise.")] = 1,
    home: Home = DEFAULT_HOME,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other records.")] = 1,
    as_json: Json = False,
) -> None:
    """Write SFT records from the training part of a home."""
    if (labels is not None) + (teacher is not None) + from_traces > 1:
        raise typer.BadParameter("--labels, --teacher and --from-traces: give one of them")
    if tastes_by is not None and (teacher is not None or from_traces):
        raise typer.BadParameter("--tastes-by: the others tell the tastes themselves; leave it out")
    if from_traces and form != "groups":
        raise typer.BadParameter("--form: records from traces are for `srec finetune train` alone")
    if from_traces:
        _data_from_traces(home, out, seed, as_json)
        return
    with Output(as_json=as_json) as output:
        from contextlib import ExitStack, closing
        from dataclasses import asdict

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.data.model_teacher import ModelTeacher
        from mllm_srec.finetune.data.other_trainers import rewrite
        from mllm_srec.finetune.data.settings import DataSettings
        from mllm_srec.finetune.data.telling import Teller
        from mllm_srec.finetune.data.write import write_data
        from mllm_srec.llm.load import load_engine, resolve_model
        from mllm_srec.llm.pictures import load_budget
        from mllm_srec.store.home import Home as StoredHome

        with ExitStack() as stack:
            opened = stack.enter_context(StoredHome.open(home))
            asked = teller = None
            if (given := teacher or tastes_by) is not None:
                path = resolve_model(given)
                loaded = load_engine(engine, path, server_file=opened.server_file)
                if loaded.note:
                    output.note(loaded.note)
                answering = stack.enter_context(closing(loaded.engine))
                if teacher is not None:
                    asked = ModelTeacher(answering, load_budget(path))
                else:
                    teller = Teller(answering)
            progress = stack.enter_context(output.progress())
            how = SplitHow(split_by, targets)
            settings = DataSettings(seed=seed, split=how, messages=messages)
            written = write_data(
                opened, labels, out, settings, teacher=asked, teller=teller, progress=progress
            )
            report = asdict(written)
            if form != "groups":
                report |= rewrite(out, form, opened.pictures.load)
            if asked is not None:
                report["chains"] = {"asked": asked.asked, "kept": asked.kept}
        output.result(report, lambda _: facts_table(report))


def _data_from_traces(home: Path, out: Path, seed: int, as_json: bool) -> None:
    with Output(as_json=as_json) as output:
        from dataclasses import asdict

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.finetune.data.from_traces import write_traces
        from mllm_srec.store.home import Home as StoredHome

        with StoredHome.open(home) as opened:
            report = asdict(write_traces(opened, out, seed=seed))
        output.result(report, lambda _: facts_table(report))


@data_app.command("check")
def check(
    data_folder: Annotated[Path, typer.Argument(metavar="DATA", help="Folder that `data` wrote.")],
    recipe: RecipeName = SREC_TINY,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder whose tokenizer counts; by default that of the home."),
    ] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Find everything that training would stumble over.

    No model is loaded. Exits 1 when there is anything.
    """
    with Output(as_json=as_json) as output:
        from mllm_srec.agent.deployment import model_of
        from mllm_srec.finetune.training.check import check_data
        from mllm_srec.finetune.training.check_view import checked_facts, checked_view
        from mllm_srec.finetune.training.shipped_recipes import recipe_at
        from mllm_srec.store.home import Home as StoredHome

        wanted = recipe_at(recipe)
        with StoredHome.open(home) as opened, output.progress() as progress:
            path = model_of(opened, model)
            pictures = opened.pictures.load
            checked = check_data(data_folder, pictures, path, wanted, progress)
        output.result(checked_facts(checked), lambda _: checked_view(checked))
    if checked.faults:
        raise typer.Exit(1)
