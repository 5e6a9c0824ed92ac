"""The connection to a home's vLLM server: to the one that runs now, until a stop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, TypeVar

import httpx

from mllm_srec.llm.engine import EngineLost, ModelError
from mllm_srec.llm.server import ServerRecord, read_key, running
from mllm_srec.llm.server_key import authorization
from mllm_srec.llm.stopping import governing

T = TypeVar("T")

AT_ONCE = 64
"""Requests under way at once; answers that are held to words of their own cannot share one."""

IDLE_S = 1.0
"""Seconds after which an idle connection is dropped: the server drops it after 5, and what is sent
at that moment is lost."""


class ServerConnection:
    """Sends requests to the server that a server file names, also after it was started again."""

    def __init__(self, server_file: Path, *, timeout_s: float) -> None:
        """Connect.

        Raises:
            EngineLost: No server runs.
        """
        self._server_file = server_file
        self._timeout_s = timeout_s
        self._connect(running(server_file))
        # One event loop for all calls, so that connections are kept between them; on a thread of
        # its own, since that of the caller may run one itself, as in a notebook.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()

    @property
    def record(self) -> ServerRecord:
        """The server."""
        return self._record

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run requests to their end, to a stop, or to Ctrl-C.

        Requests that are cancelled close their connections, and the server stops its work on them.

        Raises:
            Stopped: It was asked to stop.
        """
        stop = governing()
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            with stop.calling(asked.cancel):
                return asked.result()
        except CancelledError:
            stop.check()
            raise
        except KeyboardInterrupt:
            asked.cancel()
            raise

    def follow(self) -> None:
        """Turn to the server that runs now: it may have been started again, on another port.

        Raises:
            EngineLost: None runs.
            ModelError: It has another model now.
        """
        record = running(self._server_file)
        if record == self._record:
            return
        if record.model_hash != self._record.model_hash:
            raise ModelError(
                f"the server was started again with another model ({Path(record.model).name}): "
                "open the home again"
            )
        self.run(self._client.aclose())
        self._connect(record)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request; what the server answers, from JSON.

        Raises:
            EngineLost: The server does not answer, or failed.
            ModelError: It refuses the request.
        """
        try:
            response = await self._client.post(path, json=body)
        except httpx.TransportError as error:
            raise _lost(error) from error
        _check(response)
        return response.json()

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[str]:
        """Send a request and yield the lines of its answer; leaving early ends the request.

        Raises:
            EngineLost: The server does not answer, or failed.
            ModelError: It refuses the request.
        """
        try:
            with (
                httpx.Client(**self._address) as client,
                client.stream("POST", path, json=body) as response,
            ):
                if response.is_error:
                    response.read()
                _check(response)
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise _lost(error) from error

    def close(self) -> None:
        """Let the connections go; the server stays."""
        self.run(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ended(self) -> None:
        # Requests that were cancelled may still be closing their connections.
        await asyncio.gather(
            *(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True
        )
        await self._client.aclose()
        await asyncio.get_running_loop().shutdown_default_executor()

    def _connect(self, record: ServerRecord) -> None:
        self._record = record
        self._address: dict[str, Any] = {
            "base_url": record.url,
            "headers": authorization(read_key(self._server_file)),
            "timeout": httpx.Timeout(self._timeout_s, connect=10.0),
            # A proxy of the environment has no business between us and loopback.
            "trust_env": False,
        }
        limits = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=IDLE_S)
        self._client = httpx.AsyncClient(**self._address, limits=limits)


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        reason = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        reason = response.text
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise EngineLost(f"the server failed: {reason[:300]}; see its log, start it again")
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND):
        raise EngineLost(
            f"another server answers at {response.url.host}:{response.url.port} "
            f"({reason[:100]}): stop it, or start ours again with `srec serve start`"
        )
    raise ModelError(f"the server refuses the prompt: {reason[:500]}")


def _lost(error: httpx.TransportError) -> EngineLost:
    return EngineLost(
        f"the server does not answer ({type(error).__name__}: {error}): see its log, and start "
        "it again with `srec serve start`"
    )
