"""What the trace commands share: how a trace is named, and how the traces of a home are opened."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mllm_srec.agent.inspection.records import RunRecord
    from mllm_srec.store.traces import TraceStore

TraceId = Annotated[str, typer.Argument(help="Of a trace, or the beginning of one.")]


def open_traces(home: Path, *, create: bool = False) -> "TraceStore":
    """The traces of a home, which must be there.

    Raises:
        HomeError: The folder is not a home.
        TraceError: It has no traces, or they cannot be read.
    """
    # Late (PLC0415): the command line must answer at once.
    from mllm_srec.store.home import Home  # noqa: PLC0415
    from mllm_srec.store.traces import TraceStore  # noqa: PLC0415

    with Home.open(home) as opened:
        traces = TraceStore.open(opened.traces_file, create=create)
    if traces.is_torn:
        sys.stderr.write("srec: the last write to the traces was cut off: it is left out\n")
    return traces


def item_titles(
    home: Path, runs: "Iterable[RunRecord]", tabled: Iterable[str] = ()
) -> dict[str, str]:
    """Titles of the items that the lines of these runs name, and of those that tables name.

    None where the shop is damaged.

    Raises:
        HomeError: The folder is not a home.
    """
    # Late (PLC0415): as above.
    from mllm_srec.agent.inspection.summary import named_ids  # noqa: PLC0415
    from mllm_srec.store.errors import StoreError  # noqa: PLC0415
    from mllm_srec.store.home import Home  # noqa: PLC0415

    ids = {item_id for run in runs for item_id in named_ids(run)} | {*tabled}
    if not ids:
        return {}
    with Home.open(home) as opened:
        try:
            return {each: item.title for each, item in opened.catalogue.items(ids).items()}
        except StoreError:
            # What was done can be looked into without the shop.
            return {}
