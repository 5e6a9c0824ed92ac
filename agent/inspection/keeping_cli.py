"""`srec trace prune`, `scrub`, `compact` and `settings`: what stays of the traces, and for whom."""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from typing import TYPE_CHECKING, Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_HOME, Home, Json, names
from mllm_srec.agent.inspection.options import open_traces
from mllm_srec.agent.terminal.output import Output

if TYPE_CHECKING:
    from mllm_srec.store.trace_settings import Part

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
        counts = {"traces": len(found), "deleted": len(found) if yes else 0}
        out.result(counts, lambda _: f"{len(found):,} {said}")


@keeping_app.command("scrub")
def scrub_(
    user: Annotated[
        str | None, typer.Argument(help="Whose traces go, or with --redact lose parts.")
    ] = None,
    redact: Annotated[
        str | None,
        typer.Option(
            help="Parts that all traces, or the user's, lose: text,pictures,vectors,users."
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else only count.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a user's traces, or parts of all, to the last byte."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.tracing.scrubbing import leave_out
        from mllm_srec.store.trace_retention import scrub
        from mllm_srec.store.trace_search import TraceFilter, find

        parts = _parts(redact) if redact is not None else frozenset()
        if not parts and user is None:
            raise typer.BadParameter("name a USER, or parts with --redact")
        with open_traces(home) as traces:
            if not yes:
                count = len(find(traces, TraceFilter(user=user)))
            elif user is not None and not parts:
                count = scrub(traces, user)
            else:
                count = leave_out(traces, parts, user)
        done, told = ("redacted", f"left without {redact}") if parts else ("deleted", "deleted")
        said = told if yes else f"would be {told}: add --yes"
        counts = {"traces": count, done: count if yes else 0}
        out.result(counts, lambda _: f"{count:,} {said}")


def _parts(text: str) -> "frozenset[Part]":
    """The parts that were named, by commas."""
    from pydantic import ValidationError

    from mllm_srec.store.trace_settings import TraceSettings
    from mllm_srec.store.validation import problems

    try:
        return TraceSettings.model_validate({"redact": names(text)}).redact
    except ValidationError as error:
        raise typer.BadParameter(f"--redact: {problems(error)[0].what}") from error


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
