"""`python -m bench.profiles`: the largest costs of each path, by sampling.

Paths: `fuse` (items with pictures), `recommend` (users of whom nothing was asked), `again` (the
same users once more, all answers kept), and, the engine stubbed out, `ingest` and `query`.
"""

import argparse
import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bench.machine import made_on
from bench.sampling import Sampler
from bench.shop import Shop
from bench.stub import StubEngine, write_catalogue
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing, ingest
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.load import bundled_model

RESULTS = Path(__file__).parents[1] / "build" / "profiles.json"
SHOWN = 6
USERS = 20
STUBBED = 10_000
"""Items of the generated catalogue."""


def main() -> int:
    """Profile all paths, and print their largest costs."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=__doc__)
    parser.add_argument("--model", type=Path, default=bundled_model(), help="folder of the model")
    parser.add_argument("--items", type=int, default=256, help="items of the sample shop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="srec-profiles-") as folder:
        found = _stubbed(Path(folder), options.model)
        with closing(Shop(Path(folder), options.model, options.items)) as shop:
            found |= _with_engine(shop)
    costs = {name: sampler.largest(SHOWN) for name, sampler in found.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"made": made_on(), "costs": costs}, indent=1) + "\n", "utf-8")
    for name, rows in costs.items():
        sys.stdout.write(f"{name}\n")
        sys.stdout.writelines(f"  {share:5.0%}  {ours} ({in_})\n" for ours, in_, share in rows)
    return 0


def _stubbed(folder: Path, model: Path) -> dict[str, Sampler]:
    """The product's own share: the engine answers at once."""
    items, interactions = write_catalogue(folder, STUBBED)
    home, engine = folder / "stubbed", StubEngine()
    with Sampler() as ingesting:
        ingest(home, items=items, interactions=interactions, engine=engine, model=model)
    with Deployment.open(home, engine=engine, model=model) as deployment:
        srec = Recommender(deployment)
        srec.recommend("u0000000")
        with Sampler() as asking:
            for number in range(1, USERS + 1):
                srec.recommend(f"u{number:07d}")
    return {"ingest": ingesting, "query": asking}


def _with_engine(shop: Shop) -> dict[str, Sampler]:
    with shop.deployment(shop.fresh_home()) as deployment, deployment.home.lock():
        deployment.context()  # Loads the engine.
        with Sampler() as fusing:
            fuse_missing(deployment)
    with shop.deployment(shop.fresh_home(fused=True)) as deployment:
        srec, users = Recommender(deployment), deployment.home.catalogue.user_ids()
        srec.recommend(users[0])
        samplers = []
        for _ in ("recommend", "again"):
            with Sampler() as asking:
                for user in users[1 : USERS + 1]:
                    srec.recommend(user)
            samplers.append(asking)
    return {"fuse": fusing, "recommend": samplers[0], "again": samplers[1]}


if __name__ == "__main__":
    sys.exit(main())
