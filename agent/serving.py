"""`srec serve`: the vLLM server of a home."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mllm_srec.agent.deployment import model_of
from mllm_srec.llm import server
from mllm_srec.store.home import Home


def start(home: Path, *, model: Path | None = None) -> dict[str, Any]:
    """Start a server for the home's model and wait until it has answered about a picture.

    Raises:
        ModelError: vLLM is missing, a server runs already, or it does not become ready.
    """
    with Home.open(home, create=True) as opened:
        record = server.start(model_of(opened, model), opened.server_file)
    return _facts(record)


def stop(home: Path) -> bool:
    """Stop the server of a home; False where none ran."""
    with Home.open(home) as opened:
        return server.stop(opened.server_file)


def status(home: Path) -> dict[str, Any]:
    """What runs, as facts for a person."""
    with Home.open(home) as opened:
        record = server.status(opened.server_file)
        if record is None:
            return {"running": False}
        log = server.log_file(opened.server_file)
        rate = server.prefix_hit_rate(opened.server_file)
    return {**_facts(record), "prefix cache": f"{rate:.0%} of the prompt tokens", "log": str(log)}


def _facts(record: server.ServerRecord) -> dict[str, Any]:
    facts = asdict(record)
    started = datetime.fromtimestamp(record.started_at, UTC).isoformat(" ", "seconds")
    model = Path(record.model).name
    return {"running": True, **facts, "started": started, "model": model, "url": record.url}
