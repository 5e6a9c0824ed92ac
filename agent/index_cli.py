"""`srec index`: the vectors of the items, looked at, made again, made smaller."""

# Bodies import what they need when they run (PLC0415): `srec --help` must answer at once.
# ruff: noqa: PLC0415

import typer

from mllm_srec.agent.cli_options import (
    DEFAULT_ENGINE,
    DEFAULT_HOME,
    Engine,
    Home,
    Json,
    Model,
    group,
)
from mllm_srec.agent.terminal.output import Output

index_app = group("index", "Look after the index of item vectors.")


@index_app.command("status")
def index_status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Say what the index holds and whether it can be used.

    Exits 1 when it cannot, or the catalogue that it belongs to is damaged.
    """
    with Output(as_json=as_json) as out:
        from dataclasses import asdict

        from mllm_srec.agent.terminal.views import facts_table
        from mllm_srec.store.errors import StoreError
        from mllm_srec.store.home import Home as StoredHome

        with StoredHome.open(home) as opened:
            state = asdict(opened.representations.status())
            try:
                opened.catalogue.check()
                items = opened.catalogue.item_count()
                described = opened.catalogue.representation_count()
                state |= {"items": items, "described": described}
                if items and not described:
                    state["problem"] = "no item has a description: run `srec ingest` again"
            except StoreError as error:
                # First: vectors without descriptions are of no use, and made of these.
                state["problem"] = str(error)
        size = f"{state['size'] / 1e6:,.1f} MB"
        out.result(state, lambda _: facts_table({**state, "size": size}))
        if state["problem"]:
            raise typer.Exit(1)


@index_app.command("rebuild")
def index_rebuild(
    home: Home = DEFAULT_HOME,
    engine: Engine = DEFAULT_ENGINE,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Make the vectors again from the stored descriptions."""
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.ingest import rebuild_index

        with out.progress() as progress:
            count = rebuild_index(home, engine=engine, model=model, progress=progress, say=out.note)
        out.result({"vectors": count}, lambda _: f"{count:,} vectors")


@index_app.command("compact")
def index_compact(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Copy the vectors to a fresh index, and give disk back."""
    with Output(as_json=as_json) as out:
        from mllm_srec.store.home import Home as StoredHome

        with StoredHome.open(home) as opened:
            before, after = opened.representations.compact()
        out.result(
            {"bytes_before": before, "bytes_after": after},
            lambda _: f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now",
        )
