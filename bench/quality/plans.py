"""What one call of `bench.quality` will measure, and what is refused before anything is fitted."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.quality.fits import PEERS, WITH_VECTORS
from bench.quality.real_sets import Files, Protocol
from mllm_srec.agent.deployment import WEIGHTS
from mllm_srec.finetune.errors import FinetuneError
from mllm_srec.finetune.evaluation.evaluate import FULL, RETRIEVAL, LeakError
from mllm_srec.finetune.evaluation.graph_ranking import check_fitted
from mllm_srec.finetune.evaluation.ranking import RankingOptions
from mllm_srec.finetune.evaluation.report import Report
from mllm_srec.llm.load import bundled_model, model_hash, resolve_model
from mllm_srec.store.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the command line asked for."""

    users: int | None
    """Users asked in each trial; None for the set's own number."""
    peers: Sequence[str] | None
    """Rows of other libraries, or `none`; None for all that can be had."""
    minutes: float
    """Of tuning, for each of them."""
    python: Path
    """Of the environment of the other libraries."""
    graph: bool
    """Whether the rows of the graph are measured, too."""
    model: Path | None
    """Of these; None for the home's, or srec-tiny."""
    engine: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One protocol as it is asked."""

    name: str
    options: RankingOptions
    peers: tuple[str, ...]
    """Rows of other libraries."""
    notes: tuple[str, ...]
    """What a reader has to know of the rows that are not there."""
    asked: dict[str, Any]
    """All that the figures depend on besides the data of the home, as plain values."""
    path: Path
    """Where the report is kept."""

    def kept(self) -> Report | None:
        """The report that the same question made before."""
        if not self.path.exists():
            return None
        held = json.loads(self.path.read_text("utf-8"))
        # Through JSON, as the file went: tuples are lists there.
        same = held["asked"] == json.loads(json.dumps(self.asked))
        return Report.model_validate(held["report"]) if same else None


def make_plans(
    protocols: Sequence[Protocol],
    home: Path,
    files: Files | None,
    out: Path,
    rows: tuple[str, ...],
    choices: Choices,
) -> list[Plan]:
    """The plans of some protocols; those without a kept report can be carried out.

    Args:
        protocols: In the order of the tables.
        home: Whose log is split.
        files: What the home is made of; None for a home that was given.
        out: The folder of the reports.
        rows: Of our own.
        choices: What the command line asked for.

    Raises:
        FinetuneError: The items have no descriptions and a row needs them, weights know test cases
            of a protocol, or the environment of the other libraries is not there.
    """
    with Home.open(home) as opened:
        described = set(opened.catalogue.item_ids()) <= opened.representations.ids()
        peers = [name for name in choices.peers or PEERS if name != "none"]
        # Asked for by name, a row is not left out but refused.
        lacking = () if described or choices.peers else WITH_VECTORS
        notes = (
            [
                f"{', '.join(lacking)}: left out, the home has no vectors: describe its items with "
                f"{_ingest(home, files)}"
            ]
            if lacking
            else []
        )
        had = tuple(name for name in peers if name not in lacking)
        model = _model(opened, choices) if choices.graph else {}
        # A home that is made is the set's; of a given one the report says which it was.
        facts = model if files else {**model, "home": str(home.resolve())}
        plans = [_plan(each, out, rows, had, tuple(notes), facts, choices) for each in protocols]
        to_make = [plan for plan in plans if plan.kept() is None]
        asked = {name for plan in to_make for name in (*(plan.options.rows or ()), *plan.peers)}
        needing = [name for name in (RETRIEVAL, FULL, *WITH_VECTORS) if name in asked]
        if needing and not described:
            raise FinetuneError(
                f"{', '.join(needing)} need items that are described, and those of {str(home)!r} "
                f"are not: run {_ingest(home, files)}"
            )
        if choices.graph:
            _require_fitting(opened, to_make, model["model_hash"])
    if any(plan.peers for plan in to_make) and not choices.python.exists():
        raise FinetuneError(
            f"no {str(choices.python)!r}: rows of other libraries have an environment of their "
            "own, which `make .venv/quality/ready` makes; `--peer none` leaves them out"
        )
    return plans


def _plan(
    protocol: Protocol,
    out: Path,
    rows: tuple[str, ...],
    peers: tuple[str, ...],
    notes: tuple[str, ...],
    facts: dict[str, Any],
    choices: Choices,
) -> Plan:
    options = replace(protocol.options, users=choices.users or protocol.options.users, rows=rows)
    peers = tuple(name for name in peers if name in protocol.peers)
    notes = notes if protocol.peers else ()
    asked = {**asdict(options), "peers": peers, "minutes": choices.minutes if peers else None}
    path = out / f"{protocol.name}.json"
    return Plan(protocol.name, options, peers, notes, asked | facts, path)


def _model(home: Home, choices: Choices) -> dict[str, Any]:
    """What the rows of the graph depend on besides the home's data."""
    model = resolve_model(choices.model or home.model or bundled_model())
    return {
        "engine": choices.engine,
        "model_hash": model_hash(model),
        "weights": home.read_setting(WEIGHTS),
    }


def _require_fitting(home: Home, plans: Sequence[Plan], model: str) -> None:
    """Refuse protocols of which the fitted weights know test cases."""
    faults: dict[str, LeakError] = {}
    for plan in plans:
        try:
            check_fitted(home, plan.options.split_how, model)
        except LeakError as error:
            faults[plan.name] = error
    for name, fault in faults.items():
        fitting = [f"--protocol {plan.name}" for plan in plans if plan.name not in faults]
        instead = f"; or ask for `{' '.join(fitting)}` alone" if fitting else ""
        raise LeakError(f"protocol {name!r}: {fault}{instead}")


def _ingest(home: Path, files: Files | None) -> str:
    """The command that describes the items of a home."""
    if files is None:
        return f"`srec ingest --home {shlex.quote(str(home))}` and the files that it is made of"
    given = [word for name, path in files._asdict().items() for word in (f"--{name}", str(path))]
    return f"`{shlex.join(['srec', 'ingest', *given, '--home', str(home)])}`"
