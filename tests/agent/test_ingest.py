"""Ingest with a model on top: resumed after a kill, and when items or the model change."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import (
    fuse_missing,
    ingest,
    make_vectors_anew,
    rebuild_index,
    stale_items,
)
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Settings
from mllm_srec.llm.engine import EngineLost, ModelError, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.errors import IndexMismatch
from mllm_srec.store.home import Home
from mllm_srec.store.records import FusedItem, Item, Representation

from .shop import ITEMS, MODEL, answer, fill, scripted

KILLED = """
import os, signal, sys
from pathlib import Path
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.state import Settings
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from tests.agent.shop import MODEL, answer, fill

fused = 0

def die_in_the_last_batch(prompt):
    global fused
    fused += prompt.messages[1].text.startswith("Merge")
    if fused == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(prompt)

home = Home.open(Path(sys.argv[1]), create=True)
fill(home)
engine = ScriptedEngine(answer=die_in_the_last_batch)
with Deployment(home, engine=engine, model=MODEL, settings=Settings(ingest_batch=2)) as deployment:
    fuse_missing(deployment)
"""


class Killed(BaseException):
    """What no code catches."""


@contextmanager
def opened(path: Path, engine: ScriptedEngine, *, batch: int = 2) -> Iterator[Deployment]:
    home = Home.open(path, create=True)
    if not home.catalogue.item_count():
        fill(home)
    chosen = Settings(ingest_batch=batch)
    with Deployment(home, engine=engine, model=MODEL, settings=chosen) as deployment:
        yield deployment


def titles(prompts: Sequence[Prompt]) -> list[str]:
    """What the fuse prompts were about, in order."""
    texts = [prompt.messages[1].text for prompt in prompts]
    return [text.split("Fine ")[1].split()[0] for text in texts if text.startswith("Merge")]


def everything(deployment: Deployment) -> tuple[dict[str, Representation], dict[str, list[float]]]:
    vectors = deployment.home.representations.vectors(ITEMS)
    return (
        deployment.home.catalogue.representations(),
        {item_id: vectors[item_id].tolist() for item_id in sorted(vectors)},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> object:
    """What an ingest that nothing disturbed leaves."""
    with opened(tmp_path_factory.mktemp("whole") / "home", scripted()) as deployment:
        fuse_missing(deployment)
        return everything(deployment)


NAMES = [what for what, _, _ in ITEMS.values()]


def test_an_ingest_fuses_every_item_once(tmp_path: Path) -> None:
    engine = scripted()
    with opened(tmp_path / "home", engine) as deployment:
        assert fuse_missing(deployment) == (8, 0)
        assert sorted(titles(engine.generated)) == sorted(NAMES)
        told: list[tuple[str, int, int | None]] = []
        assert fuse_missing(deployment, lambda *step: told.append(step)) == (8, 0)
        assert len(titles(engine.generated)) == 8
        # Nothing to do is no stage of the work.
        assert told == []


def test_after_a_stop_between_two_batches_only_the_rest_is_fused(
    tmp_path: Path, whole: object
) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("fuse", 4):
            raise Killed

    engine = scripted()
    with opened(tmp_path / "home", engine) as deployment:
        with pytest.raises(Killed):
            fuse_missing(deployment, stop)
        kept = {ITEMS[item_id][0] for item_id in deployment.home.catalogue.representations()}
    assert len(kept) >= 4
    again = scripted()
    with opened(tmp_path / "home", again) as deployment:
        fuse_missing(deployment)
        # What was answered but not stored yet is in the step cache, and not asked again either.
        assert set(titles(again.generated)) <= set(NAMES) - kept
        assert everything(deployment) == whole


def test_after_a_kill_inside_a_batch_the_end_is_the_same(tmp_path: Path, whole: object) -> None:
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "home")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    engine = scripted()
    with opened(tmp_path / "home", engine) as deployment:
        # The last batch begins when another one is stored.
        stale = [ITEMS[item.item_id][0] for item in stale_items(deployment.context())]
        assert 2 <= len(stale) <= 6
        fuse_missing(deployment)
        # What was answered but not stored yet is not asked again.
        asked = titles(engine.generated)
        assert set(asked) <= set(stale)
        assert asked[-2:] == NAMES[-2:]
        assert everything(deployment) == whole


def test_a_changed_item_is_fused_again_and_no_other(tmp_path: Path) -> None:
    engine = scripted()
    with opened(tmp_path / "home", engine) as deployment:
        fuse_missing(deployment)
        before = everything(deployment)
        engine.generated.clear()
        drum = deployment.home.catalogue.items()["i3"]
        changed = drum.model_copy(update={"description": "Made of steel."})
        deployment.home.catalogue.put_items([changed])
        fuse_missing(deployment)
        assert titles(engine.generated) == ["drum"]
        entries, vectors = everything(deployment)
    assert entries["i3"].fused.told == {"material": "steel"}
    assert vectors["i3"] != before[1]["i3"]
    assert {item for item in ITEMS if entries[item] != before[0][item]} == {"i3"}


def test_answers_that_cannot_be_used_become_counted_plain_forms(tmp_path: Path) -> None:
    def vague(prompt: Prompt) -> str:
        return "well" if "Title: Fine drum" in prompt.messages[1].text else answer(prompt)

    with opened(tmp_path / "home", ScriptedEngine(answer=vague)) as deployment:
        assert fuse_missing(deployment) == (8, 1)
        drum = deployment.home.catalogue.representations(["i3"])["i3"]
        assert drum.fallback
        assert drum.fused.seen == {"colour": "red"}


def of_another_model() -> ScriptedEngine:
    engine = scripted()
    engine.info = replace(engine.info, model="other", model_hash="other")
    engine.dimension = 24
    return engine


def test_vectors_of_another_model_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with opened(path, scripted()) as deployment:
        fuse_missing(deployment)
    with opened(path, of_another_model()) as deployment:
        with pytest.raises(IndexMismatch, match=f"run `srec index rebuild --home {path}`"):
            fuse_missing(deployment)
        with pytest.raises(IndexMismatch, match="do not fit 'other'"):
            Recommender(deployment)


def test_a_rebuilt_index_serves_the_new_model(tmp_path: Path) -> None:
    path, engine = tmp_path / "home", of_another_model()
    with opened(path, scripted()) as deployment:
        fuse_missing(deployment)
        described = everything(deployment)[0]
    stages: list[tuple[str, int, int | None]] = []
    made = rebuild_index(
        path, engine=engine, model=MODEL, progress=lambda *told: stages.append(told)
    )
    assert made == 8
    assert stages[0] == ("vectors", 0, 8)
    assert engine.generated == []
    with opened(path, engine) as deployment:
        entries, vectors = everything(deployment)
        assert entries == described
        lines = [entries[item_id].fused.line for item_id in vectors]
        np.testing.assert_allclose(list(vectors.values()), engine.embed(lines), atol=1e-6)
        assert fuse_missing(deployment) == (8, 0)
        assert len(titles(engine.generated)) == 8
        assert Recommender(deployment).recommend("mia", k=1).items


def test_what_another_process_describes_before_a_rebuild_has_a_vector_after_it(
    tmp_path: Path,
) -> None:
    path, changed = tmp_path / "home", of_another_model()
    with opened(path, scripted()) as deployment:
        fuse_missing(deployment)
    plain_embed = changed.embed

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        """Load the model, which takes a while: another process describes one item more."""
        if list(texts) == ["dimension"]:
            with Home.open(path) as other:
                other.catalogue.put_items([Item(item_id="i9", title="Fine wagon")])
                other.catalogue.put_representations(
                    [Representation(item_id="i9", fused=FusedItem(what="wagon"), key="")]
                )
        return plain_embed(texts)

    changed.embed = embed  # type: ignore[method-assign]
    with opened(path, changed) as deployment:
        assert make_vectors_anew(deployment) == 9
        assert "i9" in deployment.home.representations.ids()


def test_the_whole_ingest_from_files(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "item_id,title,description,price\n"
        "i1,Fine rattle,Made of wood.,20\ni2,Fine kite,Made of cotton.,12\n"
        "i3,Fine drum,Made of wood.,-3\ni1,Twice,,\n"
    )
    (tmp_path / "log.csv").write_text("user_id,item_id,rating\nmia,i1,5\nmia,nowhere,5\n")
    report = ingest(
        tmp_path / "home",
        items=tmp_path / "items.csv",
        interactions=tmp_path / "log.csv",
        engine=scripted(),
        model=MODEL,
    )
    facts = report.to_dict()
    assert facts["engine"] == "scripted"
    assert (facts["items"], facts["fused"], facts["fallbacks"]) == (2, 2, 0)
    assert (facts["interactions"], facts["users"], facts["rejected"]) == (1, 1, 3)


@pytest.fixture
def unread(tmp_path: Path) -> Path:
    """A file that is refused when it is read further than its first row."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'{"item_id": "1"}\n\xff\n')
    return path


@pytest.mark.parametrize("wrong", [{"engine": "vlm"}, {"model": Path("no-such-model")}])
def test_a_misspelt_engine_or_model_is_told_before_the_files_are_read(
    tmp_path: Path, unread: Path, wrong: dict[str, Any]
) -> None:
    [named] = map(str, wrong.values())
    for fuse_now in (True, False):
        with pytest.raises(ModelError, match=f"'{named}' is n"):
            ingest(tmp_path / "home", items=unread, fuse_now=fuse_now, **wrong)


def test_a_server_that_does_not_run_is_told_before_the_files_are_read(
    tmp_path: Path, unread: Path
) -> None:
    with pytest.raises(EngineLost, match="start one with `srec serve start`"):
        ingest(tmp_path / "home", items=unread, engine="vllm-server")


def test_a_vllm_that_is_not_installed_is_told_before_the_files_are_read(
    tmp_path: Path, unread: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllm_srec.llm.load.vllm_distribution", lambda: None)
    with pytest.raises(ModelError, match=r"vLLM is not installed: .*'transformers'"):
        ingest(tmp_path / "home", items=unread, engine="vllm")
