"""`srec serve`: the model as a server in the background."""

# Bodies import what they need when they run (PLC0415): `srec --help` must answer at once.
# ruff: noqa: PLC0415

from mllm_srec.agent.cli_options import DEFAULT_HOME, Home, Json, Model, group
from mllm_srec.agent.terminal.output import Output

serve_app = group("serve", "Run the model as a server in the background.")


@serve_app.command("start")
def serve_start(home: Home = DEFAULT_HOME, model: Model = None, as_json: Json = False) -> None:
    """Start a vLLM server for this home.

    It listens on this machine alone; the command waits until it answers.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.serving import start
        from mllm_srec.agent.terminal.views import facts_table

        out.note("starting vLLM, half a minute or so ...")
        facts = start(home, model=model)
        out.result(facts, lambda _: facts_table(facts))


@serve_app.command("stop")
def serve_stop(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Stop the server of this home."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.serving import stop

        stopped = stop(home)
        out.result({"stopped": stopped}, lambda _: "stopped" if stopped else "none was running")


@serve_app.command("status")
def serve_status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Say whether a server runs, and what it serves."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.serving import status
        from mllm_srec.agent.terminal.views import facts_table

        facts = status(home)
        out.result(facts, lambda _: facts_table(facts))
