"""Results go to JSON and back, and the published schema is that of the types."""

import json
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from mllm_srec.agent.conversation.results import TurnItem, TurnResult
from mllm_srec.agent.json_results import JsonResult
from mllm_srec.agent.results import IngestReport, Recommendation
from tests.agent.terminal.test_views import RESULT

DOCS = Path(__file__).parents[2] / "docs"
RESULTS: tuple[JsonResult, ...] = (
    RESULT,
    TurnResult(
        turn=3,
        thread="t1",
        user="ben",
        said="why 好 \ud83d",
        intent="why",
        answer="Because.",
        items=(
            TurnItem(item_id="i1", title="Fine rattle", price=20.0, evidence=("i2", "i3")),
            TurnItem(item_id="i2", title="", score=0.5),
        ),
        trace_id="ab" * 16,
        engine="scripted",
        seconds=0.25,
    ),
    IngestReport(
        items=2,
        interactions=1,
        users=1,
        fused=2,
        rejected=0,
        pictures_rejected=0,
        left_out=0,
        fallbacks=0,
        seconds=1.5,
        engine="scripted",
    ),
)
each_result = pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "results.schema.json").read_text("utf-8"))
    return found


@each_result
def test_a_result_survives_its_json(result: JsonResult) -> None:
    text = json.dumps(result.to_dict())
    assert type(result).from_dict(json.loads(text)) == result


@each_result
def test_a_result_keeps_to_the_published_schema(result: JsonResult, schema: dict[str, Any]) -> None:
    data = result.to_dict()
    jsonschema.validate(data, schema)
    form = schema["$defs"][type(result).__name__]
    assert set(form["required"]) == set(data)
    for name in data:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({k: v for k, v in data.items() if k != name}, schema)


def test_the_published_schema_is_current() -> None:
    written = runpy.run_path(str(DOCS / "results_schema.py"))["written"]()
    published = (DOCS / "results.schema.json").read_text("utf-8")
    assert published == written, "run `python docs/results_schema.py`"


@each_result
def test_another_schema_and_a_broken_result_are_refused(result: JsonResult) -> None:
    data = result.to_dict()
    with pytest.raises(ValueError, match="schema 99"):
        type(result).from_dict({**data, "schema": 99})
    with pytest.raises(ValueError, match=f"not {result.called}"):
        type(result).from_dict({"schema": 1})
    with pytest.raises(ValueError, match=f"'list' is not {result.called}"):
        type(result).from_dict([data])  # type: ignore[arg-type]


def test_what_a_later_version_added_is_passed_over() -> None:
    data = {**RESULT.to_dict(), "mood": "good"}
    assert Recommendation.from_dict(data) == RESULT


def test_a_field_without_a_place_in_the_schema_would_be_noticed(schema: dict[str, Any]) -> None:
    names = {field.name for field in fields(RESULT)}
    assert set(schema["$defs"]["Recommendation"]["properties"]) == names | {"schema"}
