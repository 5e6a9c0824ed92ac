"""`srec trace prune`, `scrub`, `compact` and `settings`: what stays of the traces, and for whom."""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_HOME, Home, Json, names
from mllm_srec.agent.inspection.options import open_traces
from mllm_srec.agent.terminal.output import Output

keeping_app = typer.Typer()


@keeping_app.command()
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
        with open_traces(home) as traces:
            found = expired(traces, retention, now_ns=time.time_ns())
            if yes:
                delete(traces, found)
        said = "deleted; `srec trace compact` gives disk back" if yes else "would go: add --yes"
        out.result({"traces": len(found), "deleted": yes}, lambda _: f"{len(found):,} {said}")


@keeping_app.command("scrub")
def scrub_(
    user: Annotated[str, typer.Argument(help="Whose traces go.")],
    home: Home = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    as_json: Json = False,
) -> None:
    """Delete every trace of a user, to the last byte."""
    with Output(as_json=as_json) as out:
        from mllm_srec.store.trace_retention import scrub
        from mllm_srec.store.trace_search import TraceFilter, find

        with open_traces(home) as traces:
            count = scrub(traces, user) if yes else len(find(traces, TraceFilter(user=user)))
        said = "deleted" if yes else "would go: add --yes"
        out.result({"traces": count, "deleted": yes}, lambda _: f"{count:,} {said}")


@keeping_app.command("compact")
def compact_(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Drop what no trace needs, and give disk back."""
    with Output(as_json=as_json) as out:
        from mllm_srec.store.trace_retention import compact

        with open_traces(home) as traces:
            before, after = compact(traces)
        out.result(
            {"bytes_before": before, "bytes_after": after},
            lambda _: f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now",
        )


@keeping_app.command()
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
    """Show or set what traces leave out, and how long they stay.

    And who else gets them.
    """
    with Output(as_json=as_json) as out:
        from pydantic import ValidationError

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.store.trace_settings import changed_settings, write_settings
        from mllm_srec.store.validation import problems

        given = {"days": days, "count": count, "mib": mib, "otlp_endpoint": otlp_endpoint}
        update: dict[str, object] = {
            name: None if value == "none" else value
            for name, value in given.items()
            if value is not None
        }
        if redact is not None:
            update["redact"] = [] if redact == "none" else names(redact)
        with open_traces(home, create=True) as traces:
            try:
                stored = changed_settings(traces, update)
            except ValidationError as error:
                place, what, _ = problems(error)[0]
                option = f"--{place.partition('.')[0]}".replace("_", "-")
                raise typer.BadParameter(f"{option}: {what}") from error
            if update:
                write_settings(traces, stored)
                out.note("programs that run take the settings up when they start again")
        facts = {**stored.model_dump(mode="json"), "redact": sorted(stored.redact)}
        out.result(facts, lambda _: facts_table(facts))
