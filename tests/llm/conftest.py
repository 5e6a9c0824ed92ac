"""Engines over one random-weight model, loaded once a session."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mllm_srec.llm.engine import Engine, Picture
from mllm_srec.llm.pictures import load_budget, prepare

sys.path.insert(0, str(Path(__file__).parent))

# Read when torch loads its threads: engines that share cores must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random-weight Idefics3."""
    # Imports torch; test folders are no packages, so the name is looked up at run time.
    maker: Any = importlib.import_module("tiny_model")
    folder: Path = maker.make_tiny_model(tmp_path_factory.mktemp("tiny-model"))
    return folder


@pytest.fixture(scope="session")
def pictures(tiny_model: Path) -> list[Picture]:
    """Eight prepared pictures of different sizes and content."""
    budget = load_budget(tiny_model)
    rng = np.random.default_rng(0)
    sizes = [(96, 96), (50, 80), (200, 100), (33, 96), (96, 40), (300, 300), (64, 64), (120, 97)]
    return [
        prepare(Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)), budget)
        for w, h in sizes
    ]


@pytest.fixture(scope="session")
def transformers_engine(tiny_model: Path) -> Iterator[Engine]:
    """Transformers in float32."""
    from mllm_srec.llm.transformers_engine import TransformersEngine  # noqa: PLC0415 — torch

    engine = TransformersEngine(tiny_model, dtype="float32")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def vllm_engine(vllm_installed: None, tiny_model: Path) -> Iterator[Engine]:
    """vLLM in this process, in float32."""
    from mllm_srec.llm.vllm_engine import VLLMEngine  # noqa: PLC0415 — heavy, may be absent

    engine = VLLMEngine(tiny_model, dtype="float32")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def server_file(
    vllm_installed: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The file of a running server, in float32."""
    from mllm_srec.llm import server  # noqa: PLC0415 — of use to few tests

    path = tmp_path_factory.mktemp("server") / "server.json"
    server.start(tiny_model, path, dtype="float32")
    yield path
    server.stop(path)


@pytest.fixture(scope="session")
def server_engine(server_file: Path) -> Iterator[Engine]:
    """The client of that server."""
    from mllm_srec.llm.server_engine import VLLMServerEngine  # noqa: PLC0415

    engine = VLLMServerEngine(server_file)
    yield engine
    engine.close()
