"""Spans sent on by OTLP, received and decoded by somebody else's code."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mllm_srec.agent.tracing.otlp import ENDPOINT, endpoint, forwarder
from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore

SENDING = """
import os, sys
from pathlib import Path
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.store.traces import TraceStore
with TraceStore.open(Path(sys.argv[1])) as store:
    with Tracer(store).run("recommend", user="mia", session="t1") as run:
        with run.tracer.node("explain", inputs={"q": "a red kite"}) as node:
            node.output("password=hunter2")
    print(run.trace_id)
"""


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers.get("api_key", ""), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def send(path: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SENDING, str(path)],
        capture_output=True,
        text=True,
        timeout=250,
        env={"PATH": "", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_spans_arrive_with_their_names_and_without_secrets(
    tmp_path: Path, receiver: Receiver
) -> None:
    path = tmp_path / "traces.sqlite"
    keys = {ENDPOINT: receiver.address, "OTEL_EXPORTER_OTLP_HEADERS": "api_key=abc"}
    trace_id = send(path, **keys)
    spans: dict[str, Span] = {}
    for where, key, body in receiver.requests:
        assert (where, key) == ("/v1/traces", "abc")
        assert b"hunter2" not in body
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            [service] = [a for a in resource.resource.attributes if a.key == "service.name"]
            assert service.value.string_value == "mllm-srec"
            spans |= {s.name: s for scope in resource.scope_spans for s in scope.spans}
    assert set(spans) == {"recommend", "explain"}
    root, node = spans["recommend"], spans["explain"]
    assert {root.trace_id.hex(), node.trace_id.hex()} == {trace_id}
    assert node.parent_span_id == root.span_id
    values = {a.key: a.value.string_value for a in [*root.attributes, *node.attributes]}
    assert values["openinference.span.kind"] in ("AGENT", "CHAIN")
    assert (values["user.id"], values["session.id"]) == ("mia", "t1")
    assert values["graph.node.id"] == "explain"
    assert values["input.value"] == '{"q": "a red kite"}'
    with TraceStore.open(path, create=False) as store:
        assert len(store.spans(trace_id)) == 2


def test_a_receiver_that_is_away_does_not_stop_a_run(tmp_path: Path) -> None:
    trace_id = send(tmp_path / "traces.sqlite", **{ENDPOINT: "http://127.0.0.1:9/v1/traces"})
    with TraceStore.open(tmp_path / "traces.sqlite", create=False) as store:
        assert len(store.spans(trace_id)) == 2


def test_the_environment_comes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = TraceSettings(otlp_endpoint="http://stored/v1/traces")
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert endpoint(TraceSettings()) is None
    assert endpoint(stored) == "http://stored/v1/traces"
    monkeypatch.setenv(ENDPOINT, "http://given/v1/traces")
    assert endpoint(stored) == "http://given/v1/traces"
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        write_settings(store, stored)


def test_an_address_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(TraceError, match="no address to send spans to") as refused:
        forwarder("https://me:hunter2@example.org")
    assert "hunter2" not in str(refused.value)
