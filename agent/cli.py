"""The command line: options in, one function called, a result out. Nothing heavy is loaded here.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted. With `--json`, standard output carries
JSON and nothing else.
"""

# Bodies import what they need when they run (PLC0415): `srec --help` must answer at once.
# ruff: noqa: PLC0415

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mllm_srec.agent.cli_options import (
    DEFAULT_ENGINE,
    DEFAULT_HOME,
    DEMO_HOME,
    PASS_ON,
    Count,
    DemoHome,
    Engine,
    Home,
    Json,
    Model,
    WithPictures,
    group,
    home_source,
)
from mllm_srec.agent.index_cli import index_app
from mllm_srec.agent.serve_cli import serve_app
from mllm_srec.agent.terminal.output import Output, OutputError, standard_output

if TYPE_CHECKING:
    from mllm_srec.agent.recommender import Recommender
    from mllm_srec.agent.results import Recommendation


GUEST = "guest"
"""Whom a list is made for where a picture stands in the place of a user."""
app = group(
    "srec",
    "Recommendations with reasons, from text, pictures and time, by a local model.\n\n"
    "Exits 0 when it is done, 1 when it failed, 2 when it was used wrongly, 130 when interrupted.",
)


def main() -> NoReturn:
    """Run the command; failures of ours become one line."""
    # Read when torch loads: threads that spin while they wait take the cores from those that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _take_streams()
    try:
        app(prog_name="srec")
    except Exception as error:
        from mllm_srec.agent.errors import SREC_ERRORS
        from mllm_srec.agent.untrusted import visible

        if isinstance(error, UnicodeEncodeError) and (broken := _no_text(sys.argv)) is not None:
            sys.stderr.write(f"srec: '{visible(broken)}' is not in UTF-8: write it so\n")
            sys.exit(2)
        if isinstance(error, OutputError):
            # What is left over is not tried again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        elif not isinstance(error, SREC_ERRORS):
            raise

        sys.stderr.write(f"srec: {visible(str(error))}\n")
        sys.exit(1)
    sys.exit(0)


def _take_streams() -> None:
    """Make standard output say that it is full; a closed one ends the command at once.

    The descriptor of a closed stream would be that of the next file that is opened.
    """
    if sys.__stderr__ is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    elif isinstance(sys.stderr, io.TextIOWrapper):
        # A terminal of another encoding shows what it cannot write as an escape.
        sys.stderr.reconfigure(errors="backslashreplace")
    if sys.__stdout__ is None:
        sys.stderr.write("srec: standard output is closed: send it to a file or to /dev/null\n")
        sys.exit(1)
    sys.stdout = standard_output(1)


def _no_text(arguments: Iterable[str]) -> str | None:
    """The first argument whose bytes are no UTF-8; a file may be called so, a user may not."""
    return next((each for each in arguments if any("\ud800" <= c <= "\udfff" for c in each)), None)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"srec {version('mllm-srec')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_say_version)
    ] = False,
) -> None:
    """Its own text is the help of `app`."""


@app.command()
def demo(
    user: Annotated[str | None, typer.Argument(help="A user of the sample shop.")] = None,
    k: Count = 5,
    home: DemoHome = DEMO_HOME,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    pictures: WithPictures = True,
    as_json: Json = False,
) -> None:
    """Recommendations from the sample shop, step by step."""
    from mllm_srec.agent.demo import run_demo

    with Output(as_json=as_json) as out:
        run_demo(out, home=home, user=user, k=k, engine=engine, model=model, pictures=pictures)


@app.command()
def ingest(
    items: Annotated[Path, typer.Option(help="JSONL, CSV or Parquet, a row an item.")],
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="JSONL, CSV or Parquet, a row each; without it items alone. Of the rows of a user "
            "with one item the first counts."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; that of --items by default.")
    ] = None,
    home: Home = DEFAULT_HOME,
    limit_items: Annotated[
        int | None, typer.Option(min=1, help="Keep so many items, those with most interactions.")
    ] = None,
    max_bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="More bad rows than this, and nothing is taken.")
    ] = 0.5,
    fuse: Annotated[
        bool, typer.Option("--fuse/--no-fuse", help="Without: the model is not asked yet.")
    ] = True,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Take a shop in, and describe its items.

    Items, pictures and interactions are read, and each item is fused into one description.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.ingest import ingest as run
        from mllm_srec.agent.terminal.views import ingest_view

        with out.progress() as progress:
            report = run(
                home,
                items=items,
                interactions=interactions,
                images=images,
                limit_items=limit_items,
                max_bad_share=max_bad_share,
                fuse_now=fuse,
                engine=engine,
                model=model,
                progress=progress,
                say=out.note,
            )
        out.result(report.to_dict(), lambda _: ingest_view(report))


@app.command()
def recommend(
    user: Annotated[str | None, typer.Argument(help="Whom to recommend to.")] = None,
    k: Count = 10,
    home: Home = DEFAULT_HOME,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    pictures: WithPictures = True,
    image: Annotated[
        Path | None, typer.Option(help="A picture in the place of a user: the only like.")
    ] = None,
    print_graph: Annotated[
        bool, typer.Option("--print-graph", help="Draw the graph (Mermaid) and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recommend items to a user, or by a picture, with reasons.

    Exits 1 when there is nothing to recommend; a note says why.
    """
    with Output(as_json=as_json) as out:
        if print_graph:
            from mllm_srec.agent.graph import build_graph

            # A tab would be shown as an escape, which Mermaid does not read.
            drawn = build_graph().compile().get_graph().draw_mermaid().expandtabs(4)
            out.result({"mermaid": drawn}, lambda _: drawn)
            return
        if bool(user) == (image is not None):
            raise typer.BadParameter(
                "say whom to recommend to: srec recommend USER, or by a picture: --image FILE"
            )
        from mllm_srec.agent.chat.arguments import picture_file
        from mllm_srec.agent.recommender import Recommender

        picture = picture_file(image) if image else None
        with Recommender.open(home, engine=engine, model=model, say=out.note) as srec:
            result = srec.recommend(user or GUEST, k=k, picture=picture)
            _show(out, srec, result, pictures, picture)
        if not result.items:
            raise typer.Exit(1)


def _show(
    out: Output,
    srec: "Recommender",
    result: "Recommendation",
    pictures: bool,
    picture: bytes | None,
) -> None:
    """Write a recommendation."""
    from mllm_srec.agent.terminal.item_pictures import Pictures, home_pictures
    from mllm_srec.agent.terminal.views import recommendation_screen

    source = home_pictures(srec.deployment.home, picture)
    out.result(
        result.to_dict(),
        lambda console: recommendation_screen(
            result, Pictures.on(console, source, wanted=pictures)
        ),
    )


@app.command()
def chat(
    user: Annotated[str, typer.Option("--user", "-u", help="Who talks.")],
    thread: Annotated[
        str | None, typer.Option(help="A conversation to go on with; a new one by default.")
    ] = None,
    home: Home = DEFAULT_HOME,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    pictures: WithPictures = True,
    as_json: Json = False,
) -> None:
    """Talk: ask for items, criticise the list, ask why.

    Lines of text may come from a pipe, too.
    """
    with Output(as_json=as_json) as out:
        # Said before what follows is imported, which takes seconds.
        out.note("loading the model ...")
        from mllm_srec.agent.chat.session import run_chat
        from mllm_srec.agent.conversation.conversation import Conversations
        from mllm_srec.agent.recommender import Recommender

        with (
            Recommender.open(home, engine=engine, model=model, say=out.note) as srec,
            Conversations(srec) as talks,
        ):
            run_chat(out, talks, user=user, thread=thread, pictures=pictures)


@app.command(context_settings=PASS_ON)
def threads(context: typer.Context) -> None:
    """List conversations, and delete old ones."""
    from mllm_srec.agent.chat.threads_cli import threads_app

    threads_app(context.args, prog_name="srec threads")


@app.command()
def mcp(
    user: Annotated[str, typer.Option("--user", "-u", help="Whom the tools act for.")],
    home: Home = DEFAULT_HOME,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
) -> None:
    """Serve the tools to another agent (MCP, stdio)."""
    from mllm_srec.agent.mcp_server import build_server
    from mllm_srec.agent.recommender import Recommender

    # What a library prints while the model loads must not reach the client.
    with Output(as_json=True) as out:
        srec = Recommender.open(home, engine=engine, model=model, say=out.note)
    with srec:
        build_server(srec, user).run("stdio")


@app.command(context_settings=PASS_ON)
def trace(context: typer.Context) -> None:
    """Look into what a run did."""
    from mllm_srec.agent.inspection.cli import trace_app

    trace_app(context.args, prog_name="srec trace")


@app.command()
def doctor(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Check the machine, the engines and the home.

    Exits 1 when something is wrong.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.doctor import check, findings_table

        findings = check(home, out.console())
        out.result(
            {"findings": [each.to_dict() for each in findings]}, lambda _: findings_table(findings)
        )
        if any(each.state == "wrong" for each in findings):
            raise typer.Exit(1)


@app.command()
def config(context: typer.Context, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Show every setting, its value, and where it comes from."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.configuration import configuration, settings_table

        settings = configuration(home, home_source=home_source(context))
        out.result(
            {"settings": [each.to_dict() for each in settings]}, lambda _: settings_table(settings)
        )


def _finetune(name: str, context: typer.Context) -> None:
    """Hand the rest of the line to a command of the finetune package."""
    # The one import that points up, late and declared in pyproject.toml.
    from mllm_srec.finetune import cli as commands

    sub: typer.Typer = getattr(commands, f"{name.replace('-', '_')}_app")
    sub(context.args, prog_name=f"srec {name}")


@app.command(context_settings=PASS_ON)
def evaluate(context: typer.Context) -> None:
    """Measure recommendations against simple baselines."""
    _finetune("evaluate", context)


@app.command(context_settings=PASS_ON)
def finetune(context: typer.Context) -> None:
    """Make data, train, evaluate, combine and export a model."""
    _finetune("finetune", context)


@app.command("sample-shop", context_settings=PASS_ON)
def sample_shop(context: typer.Context) -> None:
    """Draw another sample shop, its truth apart."""
    _finetune("sample-shop", context)


app.add_typer(serve_app)
app.add_typer(index_app)
