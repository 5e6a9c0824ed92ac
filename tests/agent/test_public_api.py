"""What `mllm_srec.agent` promises to programs: names, errors and signatures."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from mllm_srec import agent
from mllm_srec.agent import (
    SREC_ERRORS,
    BadPicture,
    BadRecord,
    CannotDo,
    Conversations,
    DeadlineExceeded,
    EngineLost,
    HomeBusy,
    HomeError,
    IndexMismatch,
    Item,
    ItemFilter,
    ItemGone,
    ModelError,
    Recommendation,
    Recommender,
    Request,
    StoreError,
    ToolError,
    WrongCall,
)
from mllm_srec.agent.events import Event
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.store.home import Home
from mllm_srec.tools.ranking import CALIBRATION

from .commands import PROGRAM
from .shop import MODEL, deploy, scripted

ERRORS = {
    BadPicture: StoreError,
    BadRecord: StoreError,
    CannotDo: ToolError,
    DeadlineExceeded: ModelError,
    EngineLost: ModelError,
    HomeBusy: StoreError,
    HomeError: StoreError,
    IndexMismatch: StoreError,
    ItemGone: StoreError,
    WrongCall: ToolError,
}
Call = Callable[[Recommender], object]


def fresh(program: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240
    )
    return done.stdout


def test_errors_are_imported_without_the_libraries_of_a_model() -> None:
    heavy = ("torch", "vllm", "chromadb", "langgraph", "langchain_core", "transformers", "polars")
    names = ", ".join(["SREC_ERRORS", *(error.__name__ for error in ERRORS)])
    program = f"""
import sys
from mllm_srec.agent import {names}
print([name for name in {heavy} if name in sys.modules])
"""
    assert fresh(program) == "[]\n"


def test_every_name_is_what_it_says_and_no_module_that_bears_the_name() -> None:
    program = f"""
from inspect import ismodule
from mllm_srec.agent import {", ".join(agent.__all__)}
print([name for name in {agent.__all__} if ismodule(globals()[name])])
"""
    assert fresh(program) == "[]\n"


def test_every_event_of_a_stream_is_exported() -> None:
    assert {event.__name__ for event in get_args(Event)} <= set(agent.__all__)


def test_each_error_has_one_root_and_except_takes_the_roots() -> None:
    assert set(SREC_ERRORS) == {ToolError, ModelError, StoreError}
    for error, root in ERRORS.items():
        assert [each for each in SREC_ERRORS if issubclass(error, each)] == [root]
        with pytest.raises(SREC_ERRORS, match="why"):
            raise error("why")


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (WrongCall, lambda srec: srec.recommend("mia", k=0)),
        (WrongCall, lambda srec: srec.recommend("mia", k=10_000)),
        (WrongCall, lambda srec: srec.recommend("mia", history=["i404"])),
        (WrongCall, lambda srec: srec.recommend("mia", history=cast("list[str]", [3]))),
        (WrongCall, lambda srec: srec.recommend("mia", candidates=[])),
        (WrongCall, lambda srec: srec.recommend("mia", deadline_s=-1)),
        (WrongCall, lambda srec: srec.recommend("u" * 300, history=["i1"])),
        (WrongCall, lambda srec: Recommendation.from_dict({"a": 1})),
        (WrongCall, lambda srec: ItemFilter(min_price=-1)),
        (BadRecord, lambda srec: Item(item_id="i9", price=-1)),
        (BadRecord, lambda srec: Item(item_id="i9", price=float("inf"))),
        (BadRecord, lambda srec: Item(item_id="i9", title="half \ud83d")),
        (BadRecord, lambda srec: Item(item_id="i9", categories=("half \ud83d",))),
        (CannotDo, lambda srec: srec.recommend("mia", conditions=ItemFilter(having=("gold",)))),
        (CannotDo, lambda srec: srec.feedback("mia", "never", "gold")),
        (DeadlineExceeded, lambda srec: srec.recommend("mia", deadline_s=0)),
    ],
)
def test_a_call_fails_with_an_error_of_the_tree(
    tmp_path: Path, error: type[Exception], call: Call
) -> None:
    with deploy(tmp_path / "home", scripted()) as deployment:
        fuse_missing(deployment)
        with pytest.raises(error) as caught:
            call(Recommender(deployment))
    assert isinstance(caught.value, SREC_ERRORS)


def test_who_caught_a_value_error_for_a_wrong_call_still_does() -> None:
    assert issubclass(WrongCall, ValueError)
    assert issubclass(BadRecord, ValueError)


@pytest.mark.parametrize(
    ("make", "values", "told"),
    [
        (Item, {"item_id": "i9", "price": -1}, "price is -1: it should be greater than or equal"),
        (Item, {}, "item_id: missing, give it"),
        (Item, {"item_id": "i9", "colour": "red"}, "colour: not known, leave it out"),
        (ItemFilter, {"having": "red"}, "having is 'red': it should be a list"),
        (ItemFilter, {"max_price": "dear"}, "max_price is 'dear': it should be a number"),
        (ItemFilter, {"exclude": [3]}, r"exclude\.0 is 3: it should be a text"),
        (Recommendation.from_dict, {"data": {"schema": 1, "user": 3}}, "user is 3: it should be a"),
        (Recommendation.from_dict, {"data": {"a": 1}}, "schema None of a recommendation"),
    ],
)
def test_what_cannot_be_made_is_told_in_our_words(
    make: Callable[..., object], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(SREC_ERRORS, match=told):
        make(**values)


def test_a_thread_that_there_is_not_is_told_as_python_knows_threads(tmp_path: Path) -> None:
    with (
        deploy(tmp_path / "home", scripted()) as deployment,
        Conversations(Recommender(deployment)) as talks,
        pytest.raises(StoreError, match="no thread 'nope': `threads` lists those of a user"),
    ):
        talks.fork("nope")


def test_a_folder_that_is_no_home_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="srec ingest"):
        Recommender.open(tmp_path)


def test_weights_of_another_version_are_told_so(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", scripted()) as deployment:
        kept = {"weights": {"magic": 1.0}, "model_hash": deployment.info.model_hash}
        deployment.home.write_setting("combine", kept)
        with pytest.raises(StoreError, match="srec finetune combine"):
            Recommender(deployment)


def test_a_broken_file_of_a_model_is_one_line_of_the_command(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in MODEL.iterdir():
        (model / path.name).symlink_to(path)
    (model / CALIBRATION).unlink()
    (model / CALIBRATION).write_text('{"a": "much"}')
    with Home.open(tmp_path / "home", create=True):
        pass
    arguments = ("recommend", "mia", "--home", "home", "--model", "model")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--engine", "transformers"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("srec: the calibration ")


ASKED = {
    name: each
    for name, each in inspect.signature(Request.of).parameters.items()
    if each.kind is inspect.Parameter.KEYWORD_ONLY
}


@pytest.mark.parametrize("name", ["recommend", "arecommend", "stream", "astream"])
def test_the_signature_says_what_a_call_may_ask(name: str) -> None:
    told = inspect.signature(getattr(Recommender, name)).parameters
    assert list(told) == ["self", "user", "k", *ASKED, "deadline_s"]
    assert {asked: told[asked] for asked in ASKED} == ASKED


def public(kind: type[Any]) -> list[str]:
    return [
        name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))
    ]


@pytest.mark.parametrize("name", public(Recommender))
def test_no_call_of_a_recommender_hides_its_arguments(name: str) -> None:
    kinds = {
        each.kind for each in inspect.signature(getattr(Recommender, name)).parameters.values()
    }
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize(
    "name",
    [
        "recommend",
        "recommend_many",
        "stream",
        "feedback",
        "feedback_of",
        "undo_feedback",
        "put_items",
        "delete_item",
        "delete_user",
    ],
)
def test_each_call_has_an_asynchronous_form_with_the_same_arguments(name: str) -> None:
    one, other = (
        inspect.signature(getattr(Recommender, each)).parameters for each in (name, f"a{name}")
    )
    assert one == other
