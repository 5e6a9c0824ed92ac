"""What Ray does for `bench.ray_fusing`, in Ray's environment: items as JSON lines on stdout.

Only on this machine, and nothing is reported to anybody.
"""

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.nodes.fuse_items import fuse
from mllm_srec.llm.engine import Engine
from mllm_srec.llm.server_engine import VLLMServerEngine
from mllm_srec.store.home import Home

WORKERS = 2
BATCH = 8
"""Items that a worker describes at once."""
STORE_BYTES = 128 << 20
"""Memory for Ray's object store: items go through it by their ids, pictures do not."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its name tells of other systems; what 0 does everywhere is to stay on 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Who reaches Ray can run code in it: not without the token of this run, see below.
    "RAY_AUTH_MODE": "token",
}


class Describer:
    """One worker: the product's own fuse step on the server that all workers share.

    Each has a copy of the home, since a home has one writer; what it describes is returned.
    """

    def __init__(self, home: Path, model: Path, connect: Callable[[], Engine]) -> None:
        copy = shutil.copytree(home, home.with_name(f"{home.name}-{os.getpid()}"))
        self._deployment = Deployment.open(copy, engine=connect(), model=model)
        self._context = self._deployment.context()

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Describe items.

        Args:
            batch: Column `item_id` (N,).

        Returns:
            Columns `entry` (N,), the representations as JSON, `vector` (N, D), `worker` (N,).
        """
        home = self._deployment.home
        items = home.catalogue.items([str(item_id) for item_id in batch["item_id"]])
        with home.lock():
            entries = self._deployment.run(fuse(self._context, list(items.values())))
        vectors = home.representations.vectors(list(items))
        return {
            "entry": np.array([entry.model_dump_json() for entry in entries]),
            "vector": np.stack([vectors[entry.item_id] for entry in entries]),
            "worker": np.full(len(entries), os.getpid()),
        }


def line(row: Mapping[str, Any]) -> str:
    """A row of the data set as `bench.ray_fusing.read` takes it."""
    values = {"entry": json.loads(row["entry"]), "vector": row["vector"].tolist()}
    return json.dumps(values | {"worker": int(row["worker"])})


def main() -> int:
    """Describe the items of a home: the arguments are the home, a server file, a model."""
    home, server_file, model = map(Path, sys.argv[1:])
    # Of its own: Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        rows = _rows(home, server_file, model, Path(folder))
        sys.stdout.writelines(f"{line(row)}\n" for row in rows)
    return 0


def _rows(home: Path, server_file: Path, model: Path, folder: Path) -> Iterator[Mapping[str, Any]]:
    # Given here, the token is not written into the user's home folder.
    os.environ.update(ENVIRONMENT, RAY_AUTH_TOKEN=secrets.token_hex(32))
    # Late: it reads the environment, and is not installed where the tests run.
    import ray  # type: ignore[import-not-found]  # noqa: PLC0415

    with Home.open(home) as opened:
        items = [{"item_id": item_id} for item_id in opened.catalogue.item_ids()]
    ray.init(
        "local",
        num_cpus=WORKERS,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        _temp_dir=str(folder),
    )
    try:
        yield from _described(ray, items, home, server_file, model)
    finally:
        ray.shutdown()


def _described(
    ray: Any, items: list[dict[str, str]], home: Path, server_file: Path, model: Path
) -> Iterator[Mapping[str, Any]]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    # A block a batch, and one batch under way, so that no worker takes all while another starts.
    described = ray.data.from_items(items, override_num_blocks=-(-len(items) // BATCH)).map_batches(
        Describer,
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=WORKERS, max_tasks_in_flight_per_actor=1),
        fn_constructor_kwargs={
            "home": home,
            "model": model,
            "connect": partial(VLLMServerEngine, server_file),
        },
        num_cpus=1,
        udf_modifying_row_count=False,
    )
    yield from described.iter_rows()


if __name__ == "__main__":
    sys.exit(main())
