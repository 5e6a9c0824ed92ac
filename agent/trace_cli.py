"""`srec trace`: options in, one function called, a result out. Nothing heavy is loaded here."""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mllm_srec.agent.cli import DEFAULT_HOME, Engine, Home, Json, Model, group
from mllm_srec.agent.output import Output

if TYPE_CHECKING:
    from mllm_srec.agent.trace_records import RunRecord
    from mllm_srec.store.traces import TraceStore

trace_app = group("trace", "Look into what a run did.")

TraceId = Annotated[str, typer.Argument(help="Of a trace, or the beginning of one.")]


@trace_app.command("list")
def list_(
    search: Annotated[
        list[str] | None,
        typer.Argument(help="Words that the run must hold; the last may be cut."),
    ] = None,
    home: Home = DEFAULT_HOME,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest so many.")] = 20,
    user: Annotated[str | None, typer.Option(help="Runs for this user.")] = None,
    node: Annotated[str | None, typer.Option(help="Runs that came by this node.")] = None,
    engine: Annotated[str | None, typer.Option(help="Kind of engine that answered.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Something in it failed.")] = False,
    slower: Annotated[float | None, typer.Option(help="Took so many seconds or more.")] = None,
    faster: Annotated[float | None, typer.Option(help="Took so many seconds or less.")] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Best label margin of the run, nats, or more.")
    ] = None,
    max_score: Annotated[float | None, typer.Option(help="The same, or less.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Started since: 30m, 2h, 7d, or 2026-11-20T18:00 (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Started before; as --since.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Annotated good, bad or note.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, until interrupted, as runs come.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List traces, newest first."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.trace_list import follow as live
        from mllm_srec.agent.trace_list import run_table
        from mllm_srec.agent.trace_reading import read_run
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
        with _traces(home) as traces:
            if follow:
                for run in live(traces, wanted, limit):
                    _say(out, run)
            runs = [read_run(root) for root in find(traces, wanted, limit)]
        out.lines((run.to_dict() for run in runs), lambda _: run_table(runs))


@trace_app.command()
def show(
    trace_id: TraceId,
    home: Home = DEFAULT_HOME,
    full: Annotated[bool, typer.Option("--full", help="Every call, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run: nodes, prompts as sent, raw answers, scores, what changed, where time went."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.trace_reading import load_trace
        from mllm_srec.agent.trace_sections import shown
        from mllm_srec.agent.trace_view import trace_tree

        with _traces(home) as traces:
            trace = load_trace(traces, trace_id)
        out.result(shown(trace), lambda _: trace_tree(trace, full=full))


@trace_app.command("diff")
def diff_(
    before: TraceId,
    after: TraceId,
    home: Home = DEFAULT_HOME,
    full: Annotated[bool, typer.Option("--full", help="Every change, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs: requests, prompts, answers, values, order, and scores within the noise.

    Exits 0 when they are the same, 1 when they differ, 2 when they cannot be compared.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.trace_diff import diff, diff_view
        from mllm_srec.agent.trace_reading import load_trace
        from mllm_srec.agent.untrusted import visible
        from mllm_srec.store.errors import StoreError

        try:
            with _traces(home) as traces:
                found = diff(load_trace(traces, before), load_trace(traces, after))
        except StoreError as error:
            out.note(f"srec: {visible(str(error))}")
            raise typer.Exit(2) from error
        out.result(found.to_dict(), lambda _: diff_view(found, full=full))
        if not found.same:
            raise typer.Exit(1)


@trace_app.command()
def export(
    trace_id: TraceId,
    html: Annotated[Path, typer.Option(help="File to write.")],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Write a run as one HTML page that needs nothing else."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.trace_html import html_page
        from mllm_srec.agent.trace_reading import load_trace
        from mllm_srec.store.files import write_private

        with _traces(home) as traces:
            page = html_page(load_trace(traces, trace_id), traces.blob)
        # Like the traces themselves: for their owner alone.
        write_private(html, page.encode())
        out.result({"html": str(html), "bytes": html.stat().st_size}, lambda _: f"wrote {html}")


@trace_app.command("replay")
def replay_(
    trace_id: TraceId,
    home: Home = DEFAULT_HOME,
    full: Annotated[bool, typer.Option("--full", help="Every change, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Run a recommendation again from its recorded answers, without a model.

    Exits 0 when it comes out bit-equal, 1 when something differs.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.deployment import Deployment
        from mllm_srec.agent.trace_diff import diff_view
        from mllm_srec.agent.trace_replay import replay

        with _traces(home) as traces:
            spans = traces.spans(trace_id)
        with Deployment.open(home) as deployment:
            found = replay(deployment, spans)
        first = found.changes[0].to_dict() if found.changes else None
        out.result(
            {"equal": found.same, "first_difference": first},
            lambda _: "equal, bit for bit" if found.same else diff_view(found, full=full),
        )
        if not found.same:
            raise typer.Exit(1)


@trace_app.command("fork")
def fork_(
    trace_id: TraceId,
    step: Annotated[str, typer.Argument(help="NODE, or NODE:2 for its second pass.")],
    home: Home = DEFAULT_HOME,
    state: Annotated[
        Path | None, typer.Option(help="JSON file with fields of the state to replace.")
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option(help="OLD=>NEW in every prompt; may be repeated.")
    ] = None,
    engine: Engine = "auto",
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Go on from a step of a run with something changed: a new run that names its parent."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.deployment import Deployment
        from mllm_srec.agent.trace_diff import diff, diff_view
        from mllm_srec.agent.trace_reading import load_trace
        from mllm_srec.agent.trace_replay import fork

        edits, replacements = _edits(state), [_replacement(each) for each in replace or ()]
        with _traces(home) as traces:
            spans = traces.spans(trace_id)
            with Deployment.open(home, engine=engine, model=model, say=out.note) as deployment:
                new = fork(deployment, spans, step, edits=edits, replacements=replacements)
            found = diff(load_trace(traces, spans[0].trace_id), load_trace(traces, new))
        out.result({"trace_id": new, **found.to_dict()}, lambda _: diff_view(found))


@trace_app.command("annotate")
def annotate_(
    trace_id: TraceId,
    verdict: Annotated[str, typer.Argument(help="good, bad or note.")],
    words: Annotated[str, typer.Argument(help="What you saw; a note needs it.")] = "",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Say what you think of a run: good, bad, or a note."""
    with Output(as_json=as_json) as out:
        from typing import cast

        from mllm_srec.store.trace_notes import Verdict, annotate

        with _traces(home) as traces:
            made = annotate(traces, trace_id, cast("Verdict", verdict), words)
        out.result({"verdict": made.verdict, "note": made.note}, lambda _: f"kept: {made.verdict}")


@trace_app.command()
def prune(
    days: Annotated[float | None, typer.Option(min=0, help="Older than so many days.")] = None,
    count: Annotated[int | None, typer.Option(min=0, help="All but the newest so many.")] = None,
    mib: Annotated[float | None, typer.Option(min=0, help="Until the file is so small.")] = None,
    home: Home = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old traces, the oldest first."""
    with Output(as_json=as_json) as out:
        import time

        from mllm_srec.store.trace_retention import Retention, delete, expired

        retention = Retention(days=days, count=count, mib=mib)
        if retention == Retention():
            raise typer.BadParameter("say what may stay: --days, --count or --mib")
        with _traces(home) as traces:
            found = expired(traces, retention, now_ns=time.time_ns())
            if yes:
                delete(traces, found)
        said = "deleted; `srec trace compact` gives disk back" if yes else "would go: add --yes"
        out.result({"traces": len(found), "deleted": yes}, lambda _: f"{len(found):,} {said}")


@trace_app.command("scrub")
def scrub_(
    user: Annotated[str, typer.Argument(help="Whose traces go.")],
    home: Home = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    as_json: Json = False,
) -> None:
    """Delete every trace of a user, so that no byte of them stays."""
    with Output(as_json=as_json) as out:
        from mllm_srec.store.trace_retention import scrub
        from mllm_srec.store.trace_search import TraceFilter, find

        with _traces(home) as traces:
            count = scrub(traces, user) if yes else len(find(traces, TraceFilter(user=user)))
        said = "deleted" if yes else "would go: add --yes"
        out.result({"traces": count, "deleted": yes}, lambda _: f"{count:,} {said}")


@trace_app.command("compact")
def compact_(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Drop what no trace needs, and give disk back."""
    with Output(as_json=as_json) as out:
        from mllm_srec.store.trace_retention import compact

        with _traces(home) as traces:
            before, after = compact(traces)
        out.result(
            {"bytes_before": before, "bytes_after": after},
            lambda _: f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now",
        )


@trace_app.command()
def settings(
    redact: Annotated[
        str | None, typer.Option(help="Left out: text,pictures,vectors,users, or none.")
    ] = None,
    days: Annotated[str | None, typer.Option(help="Days that traces stay, or none.")] = None,
    count: Annotated[str | None, typer.Option(help="Traces that stay, or none.")] = None,
    mib: Annotated[str | None, typer.Option(help="Size that they may have, or none.")] = None,
    otlp_endpoint: Annotated[
        str | None, typer.Option(help="Where spans are sent on to, or none.")
    ] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Show, or set, what new traces leave out, how long they stay, and who else gets them."""
    with Output(as_json=as_json) as out:
        from pydantic import ValidationError

        from mllm_srec.agent.terminal import facts_table
        from mllm_srec.store.trace_settings import TraceSettings, read_settings, write_settings

        given = {"days": days, "count": count, "mib": mib, "otlp_endpoint": otlp_endpoint}
        update: dict[str, object] = {
            name: None if value == "none" else value
            for name, value in given.items()
            if value is not None
        }
        if redact is not None:
            update["redact"] = [] if redact == "none" else redact.split(",")
        with _traces(home, create=True) as traces:
            try:
                stored = TraceSettings.model_validate(
                    {**read_settings(traces).model_dump(), **update}
                )
            except ValidationError as error:
                first = error.errors()[0]
                raise typer.BadParameter(f"{first['loc'][0]}: {first['msg']}") from error
            if update:
                write_settings(traces, stored)
        facts = stored.model_dump(mode="json")
        out.result(facts, lambda _: facts_table(facts))


def _say(out: Output, run: "RunRecord") -> None:
    from mllm_srec.agent.trace_list import run_line

    out.result(run.to_dict(), lambda _: run_line(run))


def _edits(path: Path | None) -> dict[str, object]:
    """The fields of a JSON file."""
    import json

    if path is None:
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--state {str(path)!r}: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"--state {str(path)!r}: give one JSON object")
    return value


def _replacement(text: str) -> tuple[str, str]:
    old, arrow, new = text.partition("=>")
    if not old or not arrow:
        raise typer.BadParameter(f"--replace {text!r}: write OLD=>NEW")
    return old, new


def _moment(option: str, text: str | None) -> int | None:
    """A time that was typed, as nanoseconds."""
    from datetime import UTC, datetime

    from mllm_srec.agent.trace_list import parse_time

    try:
        return None if text is None else parse_time(text, now=datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def _traces(home: Path, *, create: bool = False) -> "TraceStore":
    """The traces of a home, which must be there."""
    from mllm_srec.store.home import Home as StoredHome
    from mllm_srec.store.traces import TraceStore

    with StoredHome.open(home) as opened:
        return TraceStore.open(opened.traces_path / "traces.sqlite", create=create)
