"""The tools over MCP, in a program of its own that speaks it on its standard streams."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

from mllm_srec.agent.ingest import fuse_missing, ingest

from .commands import PROGRAM, Shop
from .conversation.talk import engine
from .shop import deploy

# A model that prints while it works, as libraries do: from Python, from C, from a child.
NOISY = """
import os, subprocess, sys
from pathlib import Path
from mllm_srec.agent.mcp_server import build_server
from mllm_srec.agent.recommender import Recommender
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.conversation.talk import answering
from tests.agent.shop import deploy, score

def noisy(prompt, labels):
    Path(sys.argv[2]).touch()
    print("noise of a library")
    os.write(1, b"noise from C\\n")
    subprocess.run([sys.executable, "-c", "print('noise of a child')"], check=True)
    return score(prompt, labels)

with deploy(Path(sys.argv[1]), ScriptedEngine(answer=answering(), score=noisy)) as deployment:
    build_server(Recommender(deployment), "mia").run("stdio")
"""


def over_stdio(words: Sequence[str], *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What a program that speaks MCP on its standard streams answers."""
    program = StdioServerParameters(
        command=sys.executable,
        args=list(words),
        cwd=str(Path(__file__).parents[2]),
        env=dict(os.environ),
    )

    async def talk() -> list[Any]:
        async with Client(program) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(talk())


def test_what_is_printed_during_a_call_stays_out_of_the_protocol(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with deploy(home, engine()) as deployment:
        fuse_missing(deployment)
    printed = tmp_path / "printed"
    [found] = over_stdio(["-c", NOISY, str(home), str(printed)], ("recommend", {"k": 2}))
    assert printed.exists()
    assert len(found.structured_content["items"]) == 2


def test_the_command_serves_the_tools_over_standard_input_and_output(
    tmp_path: Path, shop: Shop
) -> None:
    home = tmp_path / "home"
    ingest(
        home,
        items=shop.folder / "items.jsonl",
        interactions=shop.folder / "log.jsonl",
        engine="transformers",
    )
    serve = ["mcp", "--user", "u0", "--home", str(home), "--engine", "transformers"]
    found, history, failed = over_stdio(
        ["-c", PROGRAM, *serve],
        ("recommend", {"k": 1}),
        ("user_history", {}),
        ("item_details", {"item_id": "i404"}),
    )
    [item] = found.structured_content["items"]
    assert item["item_id"] in {"i1", "i2", "i3"}
    assert item["reason"]
    assert found.structured_content["engine"] == "transformers"
    assert [each["item_id"] for each in history.structured_content["items"]] == ["i0"]
    assert failed.structured_content["failure"] == "wrong_call"
