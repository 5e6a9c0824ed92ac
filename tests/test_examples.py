"""Every example of the pages and every program of `examples/` runs, on a scripted engine."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.nodes.fuse_items import compact
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.load import Loaded
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.store.records import Interaction
from tests.agent.conversation.talk import answering
from tests.agent.shop import COLOURS, LOG, deploy, score

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))]
ARGUMENTS = {
    "recommend.py": ["~/shop", "u17"],
    "talk.py": ["~/shop", "u17"],
    "agent.py": ["~/shop", "u17", "srec-tiny", "what shall I get?"],
}


def reply(prompt: Prompt) -> str:
    """The rules of the shop; for an agent a call of a tool, and then words."""
    system, last = prompt.messages[0].text, prompt.messages[-1].text
    if "You may call these tools" in system:
        if "Result of the tool recommend" in last:
            return compact({"answer": "Have a look at those."})
        return compact({"tool": "recommend", "arguments": {"k": 2}})
    if "Answer in JSON by this schema" in system:
        return compact({"colour": "red"})
    return answering()(prompt)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop at `~/shop`, with the user of the examples, on a scripted engine."""
    path = tmp_path / "shop"
    Image.new("RGB", (40, 40), COLOURS["red"]).save(tmp_path / "photo.png")
    with deploy(path, ScriptedEngine(answer=reply, score=score)) as deployment:
        deployment.home.catalogue.put_interactions(
            Interaction(user_id="u17", item_id=item_id, position=position, rating=rating)
            for position, (item_id, rating) in enumerate(LOG["ben"])
        )
        fuse_missing(deployment)

    def load(*_: object, **__: object) -> Loaded:
        return Loaded(ScriptedEngine(answer=reply, score=score), None)

    monkeypatch.setenv("HOME", str(tmp_path))
    for module in ("deployment", "chat_model"):
        monkeypatch.setattr(f"mllm_srec.agent.{module}.load_engine", load)
    monkeypatch.setattr(
        "mllm_srec.agent.chat_model.resolve_model", lambda _: ROOT / "llm" / "srec-tiny"
    )
    return path


def test_every_program_is_known_here() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(ARGUMENTS)
    assert ROOT / "docs" / "python.md" in WITH_CODE


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_program_runs(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS[name]])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    shown = capsys.readouterr().out
    assert "Fine" in shown
    if name == "agent.py":
        assert "Have a look at those." in shown


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_examples_of_a_page_run_one_after_the_other(home: Path, page: Path) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        exec(compile(block, f"{page.name}, example {number}", "exec"), names)
