"""Nothing leaves the machine: no connection beyond loopback, no usage statistics."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mllm_srec.llm.vllm_settings import vllm_environment

ROOT = Path(__file__).parents[2]

# Every way out of Python's sockets is written down and refused. The environment is that of a
# person who has LangSmith's tracing on and no usage statistics off.
GUARDED = """
import ipaddress, json, sys
from pathlib import Path

WAYS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
        "socket.gethostbyname", "socket.gethostbyaddr"}
attempts = []

def local(host):
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

def guard(event, arguments):
    if event not in WAYS:
        return
    target = arguments[0] if event.startswith("socket.get") else arguments[1]
    if isinstance(target, tuple):
        target = target[0]
    elif event == "socket.connect":
        return  # the path of a Unix socket
    if not local(target):
        attempts.append(f"{event} {target!r}")
        raise OSError(f"refused by the test: {event} {target!r}")

sys.addaudithook(guard)
if sys.argv[2] == "check":
    import socket
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=1)
    except OSError:
        pass
else:
    import chromadb, langgraph, opentelemetry.sdk, transformers
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from mllm_srec.agent.ingest import fuse_missing
    from mllm_srec.agent.recommender import Recommender
    from tests.agent.shop import deploy, scripted

    home = Path(sys.argv[1])
    with deploy(home, scripted()) as deployment:
        fuse_missing(deployment)
        assert Recommender(deployment).recommend("mia", k=2).items
    wait_for_all_tracers()
print(json.dumps(attempts))
"""


def guarded(home: Path, what: str) -> str:
    silent = ("TELEMETRY", "TRACK", "USAGE", "OFFLINE", "LANGSMITH", "LANGCHAIN")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not any(part in name for part in silent)
    }
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "LANGSMITH_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_API_KEY": "none",
        "LANGSMITH_ENDPOINT": "https://langsmith.invalid",
    }
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(home), what],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_guard_sees_a_connection(tmp_path: Path) -> None:
    assert "192.0.2.1" in guarded(tmp_path / "home", "check")


def test_ingest_and_recommend_open_no_connection_beyond_loopback(tmp_path: Path) -> None:
    assert guarded(tmp_path / "home", "chain") == "[]"


@pytest.mark.parametrize("in_process", [True, False])
def test_vllm_runs_without_usage_statistics(in_process: bool) -> None:
    environment = vllm_environment(in_process=in_process)
    for name in ("VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "DO_NOT_TRACK"):
        assert environment[name] == "1"
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        assert environment[name] == "1"
    assert environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert environment["VLLM_PLUGINS"] == ""


def calls(file: str) -> list[ast.Call]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_chroma_is_never_opened_with_its_statistics_on() -> None:
    """Chroma's client for an embedded store is native code, which the guard cannot see."""
    settings = [call for call in calls("store/chroma.py") if ast.unparse(call.func) == "Settings"]
    clients = [call for call in calls("store/chroma.py") if "Client" in ast.unparse(call.func)]
    assert settings
    for call in settings:
        assert "anonymized_telemetry=False" in ast.unparse(call)
    for call in clients:
        if ast.unparse(call.func).startswith("chromadb."):
            assert any(keyword.arg == "settings" for keyword in call.keywords)


def test_models_are_loaded_from_this_machine_alone() -> None:
    loads = [
        call
        for file in (ROOT / "llm").glob("*.py")
        for call in calls(str(file.relative_to(ROOT)))
        if ast.unparse(call.func).endswith(("from_pretrained", "snapshot_download"))
    ]
    assert loads
    for call in loads:
        assert "local_files_only=True" in ast.unparse(call), ast.unparse(call)
