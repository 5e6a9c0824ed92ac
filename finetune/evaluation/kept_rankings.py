"""Rankings that an evaluation has made, kept in the home: an interrupted one goes on from there.

They stand in the step cache under a hash of everything they depend on, and belong to their user:
they go when the user goes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import mllm_srec.agent
import mllm_srec.llm
import mllm_srec.store
import mllm_srec.tools
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.results import Tokens
from mllm_srec.finetune.data.splits import Case, Split
from mllm_srec.finetune.evaluation.evaluate import Ranking

Pool = frozenset[str] | None


class KeptRankings:
    """The rankings of one split by one deployment."""

    def __init__(self, recommender: Recommender, split: Split, *, seed: int) -> None:
        self._steps = recommender.deployment.home.steps
        self._base = _facts_hash(recommender, split, seed)

    def read(self, cases: Sequence[Case], pools: Sequence[Pool]) -> dict[int, Ranking]:
        """The kept rankings, by row of the case."""
        keys = [self._key(case, pool) for case, pool in zip(cases, pools, strict=True)]
        found = self._steps.get_many(keys)
        return {row: _unpack(found[key]) for row, key in enumerate(keys) if key in found}

    def write(self, rankings: Iterable[tuple[Case, Pool, Ranking]]) -> None:
        """Keep rankings."""
        for case, pool, ranking in rankings:
            packed = json.dumps(asdict(ranking))
            self._steps.put_many({self._key(case, pool): packed}, owner=case.user_id)

    def _key(self, case: Case, pool: Pool) -> str:
        history = [(one.item_id, one.position, one.rating, one.timestamp) for one in case.history]
        asked = [case.user_id, case.target, case.time, history, sorted(pool) if pool else None]
        return _hash(self._base, json.dumps(asked))


def _unpack(packed: str) -> Ranking:
    fields = json.loads(packed)
    return Ranking(**{**fields, "tokens": Tokens(**fields["tokens"])})


def _facts_hash(recommender: Recommender, split: Split, seed: int) -> str:
    """Hash of what every ranking depends on: model, weights, settings, items, split, code."""
    deployment, context = recommender.deployment, recommender.context
    info = deployment.info
    train = split.train.hash_rows(seed=0).to_numpy().tobytes()
    descriptions = {
        item_id: [entry.key, entry.fused.line]
        for item_id, entry in deployment.home.catalogue.representations().items()
    }
    facts: Mapping[str, object] = {
        "engine": [info.engine, info.version, info.model_hash, info.dtype],
        "weights": context.weights.model_dump(),
        "settings": asdict(context.settings),
        "catalogue": split.item_ids,
        "descriptions": descriptions,
        "seed": seed,
    }
    split_hash = hashlib.sha256(train).hexdigest()
    return _hash("ranking", json.dumps(facts, sort_keys=True), split_hash, _code())


def _code() -> str:
    """Hash of all code and prompts that a ranking comes from: a changed node makes other ones."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sources() -> list[Path]:
    """The files of the chain, of what it reads, and of what asks it here.

    Cases and the training part, which other code makes, stand in the keys themselves.
    """
    packages = (mllm_srec.agent, mllm_srec.llm, mllm_srec.store, mllm_srec.tools)
    folders = [Path(str(package.__file__)).parent for package in packages]
    chain = [
        path
        for folder in folders
        for path in sorted([*folder.rglob("*.py"), *folder.glob("prompts/*.md")])
    ]
    # The last imports this module.
    asking = ("evaluate.py", "pairs.py", "graph_ranking.py")
    return [*chain, *(Path(__file__).with_name(name) for name in asking)]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
