"""A call ends soon after nobody waits for it, and the engine works on."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from mllm_srec.llm import server
from mllm_srec.llm.engine import Engine, EngineLost, Message, ModelError, Prompt
from mllm_srec.llm.server import ServerRecord
from mllm_srec.llm.server_connection import ServerConnection
from mllm_srec.llm.server_key import authorization
from mllm_srec.llm.stopping import Stop, Stopped, governing

PATIENCE_S = 60
MANY, LONG = 64, 100
PROMPTS = [Prompt((Message("user", f"Say something of {number}."),)) for number in range(MANY)]


def test_nothing_stops_a_call_that_nobody_governs() -> None:
    governing().check()


def test_a_stop_reaches_the_calls_of_its_thread_alone() -> None:
    stop = Stop()
    with stop.govern():
        assert governing() is stop
        elsewhere: list[Stop] = []
        thread = threading.Thread(target=lambda: elsewhere.append(governing()))
        thread.start()
        thread.join()
        stop.ask()
        with pytest.raises(Stopped):
            governing().check()
    assert elsewhere[0] is not stop
    governing().check()


def test_who_works_elsewhere_is_called_once_also_when_it_was_asked_before() -> None:
    stop, called = Stop(), []
    with stop.calling(lambda: called.append("first")):
        stop.ask()
    stop.ask()
    with stop.calling(lambda: called.append("late")):
        pass
    assert called == ["first", "late"]


@pytest.fixture(params=["transformers", "vllm", "server"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


def work_on(engine: Engine, stop: Stop) -> None:
    """Ask again and again, so that no machine is too fast to be stopped."""
    with stop.govern():
        while True:
            engine.generate(PROMPTS, max_tokens=LONG)


def test_an_engine_breaks_off_and_answers_the_next_call(engine: Engine) -> None:
    before = engine.generate(PROMPTS[:2], max_tokens=4)
    stop = Stop()
    timer = threading.Timer(0.2, stop.ask)
    timer.start()
    with pytest.raises(Stopped):
        work_on(engine, stop)
    again = engine.generate(PROMPTS[:2], max_tokens=4)
    assert [answer.text for answer in again] == [answer.text for answer in before]


def test_a_call_whose_stop_was_asked_before_does_not_begin(engine: Engine) -> None:
    stop = Stop()
    stop.ask()
    with stop.govern():
        with pytest.raises(Stopped):
            engine.generate(PROMPTS, max_tokens=LONG)
        with pytest.raises(Stopped):
            engine.score_labels(PROMPTS, ("A", "B"))


def test_a_vllm_server_stops_its_work(server_engine: Engine, server_file: Path) -> None:
    record = server.status(server_file)
    assert record is not None

    def counter(name: str) -> float:
        key = authorization(server.read_key(server_file))
        reply = httpx.get(f"{record.url}/metrics", headers=key, trust_env=False)
        lines = reply.raise_for_status().text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    stop, tokens = Stop(), counter("vllm:generation_tokens_total")

    def stop_once_it_works() -> None:
        while counter("vllm:num_requests_running") == 0:
            time.sleep(0.01)
        stop.ask()

    watch = threading.Thread(target=stop_once_it_works)
    watch.start()
    with pytest.raises(Stopped), stop.govern():
        server_engine.generate(PROMPTS * 8, max_tokens=LONG)
    watch.join()
    deadline = time.monotonic() + PATIENCE_S
    while counter("vllm:num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counter("vllm:num_requests_running") == 0
    assert counter("vllm:generation_tokens_total") - tokens < 8 * MANY * LONG


class _Silent(BaseHTTPRequestHandler):
    """Takes requests and never answers those for `/wait`; notices who goes away."""

    asked = threading.Event()
    gone = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/wait":
            type(self).asked.set()
            self.connection.settimeout(PATIENCE_S)
            if self.connection.recv(1) == b"":
                type(self).gone.set()
            return
        body = json.dumps({"port": self.connection.getsockname()[1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def fakes() -> Iterator[list[ThreadingHTTPServer]]:
    """Two servers that are none of vLLM's."""
    _Silent.asked.clear()
    _Silent.gone.clear()
    servers = [ThreadingHTTPServer((server.HOST, 0), _Silent) for _ in range(2)]
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield servers
    for each in servers:
        each.shutdown()
        each.server_close()


def written(path: Path, port: int, model_hash: str = "m") -> Path:
    """A server file that names this process, so that its server counts as running."""
    process = psutil.Process()
    record = ServerRecord(
        process.pid, server.started(process), port, "model", model_hash, "float32"
    )
    path.write_text(json.dumps(asdict(record)), "utf-8")
    server.key_file(path).write_text("key", "utf-8")
    return path


def test_a_stop_closes_the_connection_of_a_request(
    fakes: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    path = written(tmp_path / "server.json", fakes[0].server_port)
    connection = ServerConnection(path, timeout_s=PATIENCE_S)
    stop = Stop()

    def stop_once_asked() -> None:
        assert _Silent.asked.wait(PATIENCE_S)
        stop.ask()

    watch = threading.Thread(target=stop_once_asked)
    watch.start()
    with pytest.raises(Stopped), stop.govern():
        connection.run(connection.post("/wait", {}))
    watch.join()
    assert _Silent.gone.wait(PATIENCE_S)
    assert "port" in connection.run(connection.post("/answer", {}))
    connection.close()


def test_a_server_that_was_started_again_is_found_on_its_new_port(
    fakes: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    ports = [fake.server_port for fake in fakes]
    path = written(tmp_path / "server.json", ports[0])
    connection = ServerConnection(path, timeout_s=PATIENCE_S)
    assert connection.run(connection.post("/answer", {})) == {"port": ports[0]}
    path.unlink()
    with pytest.raises(EngineLost, match="srec serve"):
        connection.follow()
    written(path, ports[1])
    connection.follow()
    assert connection.run(connection.post("/answer", {})) == {"port": ports[1]}
    written(path, ports[0], model_hash="another")
    with pytest.raises(ModelError, match="another model"):
        connection.follow()
    connection.close()


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """A worker of pytest-xdist leaves Ctrl-C to its master."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_closes_the_connection_of_a_request(
    fakes: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    path = written(tmp_path / "server.json", fakes[0].server_port)
    connection = ServerConnection(path, timeout_s=PATIENCE_S)

    def interrupt_once_asked() -> None:
        assert _Silent.asked.wait(PATIENCE_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    watch = threading.Thread(target=interrupt_once_asked)
    watch.start()
    with pytest.raises(KeyboardInterrupt):
        connection.run(connection.post("/wait", {}))
    watch.join()
    assert _Silent.gone.wait(PATIENCE_S)
    connection.close()


def test_a_thread_that_runs_an_event_loop_asks_like_any_other(
    fakes: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    ports = [fake.server_port for fake in fakes]
    path = written(tmp_path / "server.json", ports[0])

    async def in_a_notebook() -> list[object]:
        connection = ServerConnection(path, timeout_s=PATIENCE_S)
        first = connection.run(connection.post("/answer", {}))
        written(path, ports[1])
        connection.follow()
        second = connection.run(connection.post("/answer", {}))
        connection.close()
        return [first, second]

    assert asyncio.run(in_a_notebook()) == [{"port": port} for port in ports]
