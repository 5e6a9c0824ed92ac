"""`srec trace`: find runs, look into them, say what one thinks of them.

Options in, one function called, a result out. Nothing heavy is loaded here.
"""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mllm_srec.agent.cli_options import (
    DEFAULT_ENGINE,
    DEFAULT_HOME,
    Engine,
    Home,
    Json,
    Model,
    finite,
    group,
)
from mllm_srec.agent.inspection.keeping_cli import keeping_app
from mllm_srec.agent.inspection.options import TraceId, item_titles, open_traces
from mllm_srec.agent.inspection.rerun_cli import rerun_app
from mllm_srec.agent.terminal.output import Output
from mllm_srec.store.trace_notes import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mllm_srec.agent.inspection.records import RunRecord
    from mllm_srec.agent.inspection.sections import Added
    from mllm_srec.agent.inspection.summary import Titles
    from mllm_srec.store.spans import Span

trace_app = group("trace", "Look into what a run did.")

Neutral = Annotated[
    bool,
    typer.Option("--neutral", help="Ask the model about the items without the user, too."),
]


@trace_app.command("list")
def list_(
    search: Annotated[
        list[str] | None,
        typer.Argument(help="Words that the run must hold; the last may be cut."),
    ] = None,
    home: Home = DEFAULT_HOME,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest so many.")] = 20,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Runs for this user.")] = None,
    node: Annotated[str | None, typer.Option(help="Runs that came by this node.")] = None,
    engine: Annotated[str | None, typer.Option(help="Kind of engine that answered.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Something in it failed.")] = False,
    slower: Annotated[
        float | None, typer.Option(min=0, help="Took so many seconds or more.")
    ] = None,
    faster: Annotated[
        float | None, typer.Option(min=0, help="Took so many seconds or less.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Best label margin of the run, nats, or more.", callback=finite),
    ] = None,
    max_score: Annotated[
        float | None, typer.Option(help="The same, or less.", callback=finite)
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Started since: 30m, 2h, 7d, or 2026-11-20T18:00 (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Started before; as --since.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Annotated so.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, until interrupted, as runs come.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List traces, newest first."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.inspection.listing import WIDE, listed, run_table
        from mllm_srec.agent.inspection.listing import follow as live
        from mllm_srec.agent.inspection.reading import read_run
        from mllm_srec.store.trace_search import TraceFilter, find

        wanted = TraceFilter(
            user=user,
            node=node,
            engine=engine,
            model=model,
            failed=failed,
            least_seconds=slower,
            most_seconds=faster,
            least_score=min_score,
            most_score=max_score,
            since_ns=_moment("--since", since),
            until_ns=_moment("--until", until),
            verdict=verdict,
            words=" ".join(search or ()),
        )
        with open_traces(home) as traces:
            if follow:
                for run in live(traces, wanted, limit):
                    _say(out, run, item_titles(home, [run]))
            runs = [read_run(root) for root in find(traces, wanted, limit)]
        titles = item_titles(home, runs)
        out.lines(
            (listed(run, titles) for run in runs),
            lambda console: run_table(runs, titles=titles, wide=console.width >= WIDE),
        )


@trace_app.command()
def show(
    trace_id: TraceId,
    home: Home = DEFAULT_HOME,
    node: Annotated[
        str | None, typer.Option(help="This step alone: NODE, or NODE:2 for its second pass.")
    ] = None,
    neutral: Neutral = False,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    full: Annotated[bool, typer.Option("--full", help="Every call, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run.

    Its nodes, prompts as sent, raw answers, scores, what changed and where time went.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.inspection.pictures import drawing
        from mllm_srec.agent.inspection.reading import load_trace
        from mllm_srec.agent.inspection.sections import NOTHING, shown
        from mllm_srec.agent.inspection.view import trace_tree

        with open_traces(home) as traces:
            trace, added = load_trace(traces, trace_id), NOTHING
            if neutral:
                added = _neutral(out, home, traces.spans(trace_id), engine, model)
            titles = item_titles(home, [trace.run])
            out.result(
                shown(trace, step=node, added=added),
                lambda console: trace_tree(
                    trace,
                    full=full,
                    step=node,
                    added=added,
                    titles=titles,
                    draw=drawing(traces.blob, console),
                ),
            )


@trace_app.command("diff")
def diff_(
    before: TraceId,
    after: TraceId,
    home: Home = DEFAULT_HOME,
    full: Annotated[bool, typer.Option("--full", help="Every change, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs.

    Requests, prompts, answers, values, order, and scores within the noise.

    Exits 0 when they are the same, 1 when they differ, 2 when they cannot be compared, be it that
    parts of one are missing.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.inspection.diff import diff, diff_view
        from mllm_srec.agent.inspection.reading import load_trace
        from mllm_srec.agent.untrusted import visible
        from mllm_srec.store.errors import StoreError

        try:
            with open_traces(home) as traces:
                found = diff(load_trace(traces, before), load_trace(traces, after))
        except StoreError as error:
            out.note(f"srec: {visible(str(error))}")
            raise typer.Exit(2) from error
        out.result(found.to_dict(), lambda _: diff_view(found, full=full))
        if not (found.same and found.is_whole):
            raise typer.Exit(2 if found.same else 1)


@trace_app.command()
def export(
    trace_id: TraceId,
    html: Annotated[Path, typer.Option(help="File to write.")],
    home: Home = DEFAULT_HOME,
    neutral: Neutral = False,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Write a run as one HTML page that needs nothing else."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.inspection.html import html_page
        from mllm_srec.agent.inspection.reading import load_trace
        from mllm_srec.agent.inspection.sections import NOTHING, tabled_items
        from mllm_srec.store.files import write_private

        with open_traces(home) as traces:
            trace, added = load_trace(traces, trace_id), NOTHING
            if neutral:
                added = _neutral(out, home, traces.spans(trace_id), engine, model)
            titles = item_titles(home, [trace.run], tabled_items(trace, added))
            page = html_page(trace, traces.blob, added, titles)
        try:
            # Like the traces themselves: for their owner alone.
            write_private(html, page.encode())
        except OSError as error:
            raise typer.BadParameter(f"--html {str(html)!r}: {error.strerror}") from error
        out.result({"html": str(html), "bytes": html.stat().st_size}, lambda _: f"wrote {html}")


@trace_app.command("annotate")
def annotate_(
    trace_id: TraceId,
    verdict: Annotated[Verdict, typer.Argument(help="What you think of it.")],
    words: Annotated[str, typer.Argument(help="What you saw; a note needs it.")] = "",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Say what you think of a run: good, bad, or a note."""
    with Output(as_json=as_json) as out:
        import os

        from mllm_srec.agent.tracing.masking import Masks
        from mllm_srec.store.trace_notes import annotate

        with open_traces(home) as traces:
            made = annotate(traces, trace_id, verdict, Masks(os.environ).masked(words))
        out.result({"verdict": made.verdict, "note": made.note}, lambda _: f"kept: {made.verdict}")


def _neutral(
    out: Output, home: Path, spans: "Sequence[Span]", engine: str, model: Path | None
) -> "Added":
    """What the model says of the items of a run without its user."""
    from mllm_srec.agent.deployment import Deployment
    from mllm_srec.agent.inspection.neutral import SCORING, neutral_section

    with Deployment.open(home, engine=engine, model=model, say=out.note) as deployment:
        return {SCORING: [neutral_section(deployment, spans)]}


def _say(out: Output, run: "RunRecord", titles: "Titles") -> None:
    from mllm_srec.agent.inspection.listing import listed, run_line

    out.result(listed(run, titles), lambda _: run_line(run))


def _moment(option: str, text: str | None) -> int | None:
    """A time that was typed, as nanoseconds."""
    from datetime import UTC, datetime

    from mllm_srec.agent.inspection.listing import parse_time

    try:
        return None if text is None else parse_time(text, now=datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


trace_app.add_typer(rerun_app)
trace_app.add_typer(keeping_app)
