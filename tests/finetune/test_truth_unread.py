"""What is true of a drawn shop stays with the evaluation: nothing else opens it."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from mllm_srec.agent.deployment import WEIGHTS, Deployment
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.recommender import Recommender
from mllm_srec.finetune.data.records import Record, read_records
from mllm_srec.finetune.data.settings import DataSettings
from mllm_srec.finetune.data.splits import split_home
from mllm_srec.finetune.data.write import write_data
from mllm_srec.finetune.evaluation.graph_ranking import GraphRanker, combine_home
from mllm_srec.finetune.evaluation.truth import unseen_items
from mllm_srec.finetune.shop.make import make_shop
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import train
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.home import Home
from mllm_srec.store.intake import load_shop
from tests.agent.shop import MODEL
from tests.finetune.small import SHARES, SMALL

NOW = 1_900_000_000.0
# linux/inotify.h: a file was opened, or read.
ACCESS, OPEN = 0x1, 0x20
EVENT = struct.Struct("iIII")


class Watch:
    """Told by the kernel of every opening below a folder, by whatever code: root, Rust, Python."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0 or libc.inotify_add_watch(self._file, bytes(folder), ACCESS | OPEN) < 0:
            raise OSError(ctypes.get_errno(), "no watch on the folder")

    def opened(self) -> list[str]:
        """Names of what was opened since the last call; "" is the folder itself."""
        try:
            told = os.read(self._file, 65_536)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(told):
            _, _, _, length = EVENT.unpack_from(told, at)
            at += EVENT.size
            names.append(told[at : at + length].rstrip(b"\0").decode())
            at += length
        return names

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def watch(folder: Path) -> Iterator[Watch]:
    watching = Watch(folder)
    try:
        yield watching
    finally:
        watching.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_shop(3, 72, 24, folder)
    return folder


def test_labels_are_those_of_the_training_items_alone(shop: Path) -> None:
    labelled = set(pl.read_parquet(shop / "labels.parquet")["item_id"])
    every = set(pl.read_parquet(shop / "items.parquet")["item_id"])
    unseen = unseen_items(shop / "truth")
    assert labelled == every - unseen
    assert 0.15 < len(unseen) / len(every) < 0.25


def test_the_watch_sees_a_reading_by_any_library(shop: Path) -> None:
    with watch(shop / "truth") as watching:
        assert watching.opened() == []
        pl.read_parquet(shop / "truth" / "items.parquet")
        assert "items.parquet" in watching.opened()
        list((shop / "truth").iterdir())
        assert "" in watching.opened()


def test_ingest_recommendation_data_training_and_combination_open_nothing_of_the_truth(
    shop: Path, tmp_path: Path
) -> None:
    unseen = unseen_items(shop / "truth")
    with watch(shop / "truth") as watching:
        # Where a library reads in its own process, the content is of no use either.
        kept = {path: path.read_bytes() for path in (shop / "truth").iterdir()}
        try:
            for path in kept:
                path.write_bytes(b"not for you")
            watching.opened()
            _use(shop, tmp_path)
            assert watching.opened() == []
        finally:
            for path, content in kept.items():
                path.write_bytes(content)
    records = [
        record
        for name in ("train", "validation")
        for record in read_records(tmp_path / "sft" / f"{name}.jsonl")
    ]
    assert {record.task for record in records} >= {"look", "fuse", "score_target"}
    with Home.open(tmp_path / "home") as home:
        pictures = {item.item_id: item.picture for item in home.catalogue.items().values()}
    of_unseen = {pictures[item_id] for item_id in unseen} - {None}
    shown = {image for record in records if isinstance(record, Record) for image in record.images}
    assert shown
    assert not shown & of_unseen


def _use(shop: Path, folder: Path) -> None:
    """All that a person does with a shop, short of measuring."""
    with Home.open(folder / "home", create=True) as home:
        load_shop(
            home,
            items=shop / "items.parquet",
            interactions=shop / "interactions.parquet",
            images=shop,
            now=NOW,
        )
        engine = ScriptedEngine(answer=lambda prompt: "no")
        with Deployment(home, engine=engine, model=MODEL) as deployment:
            fused, _ = fuse_missing(deployment)
            assert fused == home.catalogue.item_count()
            user = home.catalogue.user_ids()[0]
            assert Recommender(deployment).recommend(user, k=3).items
            settings = DataSettings(fuse_per_item=1, messages=0, groups_per_user=2)
            report = write_data(home, shop / "labels.parquet", folder / "sft", settings)
            assert report.train > 0
            recipe = Recipe(
                scratch=SMALL, steps=2, tokens_per_batch=2048, validation_records=4, shares=SHARES
            )
            trained = train(recipe, folder / "sft", home.pictures.load, folder / "out")
            assert (trained.folder / "model.safetensors").exists()
            split = split_home(home, min_rating=deployment.settings.liked_rating)
            assert combine_home(GraphRanker(deployment, split), users=12).users > 0
            kept = deployment.home.read_setting(WEIGHTS)
            assert kept is not None
            held = {(case.user_id, case.target) for case in split.validation}
            assert len(kept["cases"]) == 12
            assert {tuple(case) for case in kept["cases"]} <= held
