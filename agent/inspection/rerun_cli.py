"""`srec trace replay` and `fork`: a recorded run once more, as it was or changed."""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_ENGINE, DEFAULT_HOME, Engine, Home, Json, Model
from mllm_srec.agent.inspection.options import TraceId, open_traces
from mllm_srec.agent.terminal.output import Output

rerun_app = typer.Typer()


@rerun_app.command("replay")
def replay_(
    trace_id: TraceId,
    home: Home = DEFAULT_HOME,
    full: Annotated[bool, typer.Option("--full", help="Every change, every character.")] = False,
    as_json: Json = False,
) -> None:
    """Run again from recorded answers, without a model.

    Of a chat turn what it understood, its list and its answer are made again, of a tool call the
    list. Exits 0 when it comes out bit-equal, 1 when something differs.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.deployment import Deployment
        from mllm_srec.agent.inspection.diff import diff_view
        from mllm_srec.agent.inspection.replay import replay

        with open_traces(home) as traces:
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


@rerun_app.command("fork")
def fork_(
    trace_id: TraceId,
    step: Annotated[str, typer.Argument(help="NODE, or NODE:2 for its second pass.")],
    home: Home = DEFAULT_HOME,
    state: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with fields of the state to replace; of a chat turn said is one."
        ),
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option(help="OLD=>NEW in every prompt; may be repeated.")
    ] = None,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Go on from a step of a run with something changed.

    That is a new run, which names its parent. The steps of a chat turn are those of the list in it,
    and understand, act, answer: of these nothing is changed that is kept of the user.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.deployment import Deployment
        from mllm_srec.agent.inspection.diff import diff, diff_view
        from mllm_srec.agent.inspection.reading import load_trace
        from mllm_srec.agent.inspection.replay import fork

        edits, replacements = _edits(state), [_replacement(each) for each in replace or ()]
        with open_traces(home) as traces:
            spans = traces.spans(trace_id)
            with Deployment.open(home, engine=engine, model=model, say=out.note) as deployment:
                new = fork(
                    deployment, spans, step, edits=edits, replacements=replacements, say=out.note
                )
            found = diff(load_trace(traces, spans[0].trace_id), load_trace(traces, new))
        out.result({"trace_id": new, **found.to_dict()}, lambda _: diff_view(found))


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
