"""The key of the server, asked for on every route.

vLLM itself asks for it below `/v1` and a few other paths; others answer prompts, too.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY_VARIABLE = "VLLM_API_KEY"


def authorization(key: str) -> dict[str, str]:
    """The header by which a request shows the key."""
    return {"Authorization": f"Bearer {key}"}


class KeyNeeded:
    """ASGI middleware: a request without the key of the environment is refused with 401."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._wanted = authorization(os.environ[KEY_VARIABLE])["Authorization"].encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has the key, and the server's own start and end."""
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "lifespan" or secrets.compare_digest(given, self._wanted):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"the key is missing or wrong\n"})
        else:
            await send({"type": "websocket.close", "code": 1008})
