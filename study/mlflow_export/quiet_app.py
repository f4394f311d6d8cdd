"""MLflow's server as `python -m study ui` starts it: without its assistant, which opens over a quarter of the page.

MLflow 3.17 has no setting for that: its front end opens the panel on the first visit of every browser at localhost, and
the server answers its calls, which start command-line agents on this machine. What it has is apps: a package may bring
one by the entry point `mlflow.app` (pyproject.toml), and `mlflow server --app-name` serves it. This one is MLflow's
own, behind a middleware that refuses the assistant's calls and tells the browser that the panel was opened before; and
that lets a phone lay pages out as a desktop does, to be zoomed, since they do not fold, and hides the tool bars that
stand over a chart's points while nobody points there.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

NAME = "binsfo-study"
"""What `--app-name` calls it."""
ASSISTANT = "/mlflow/assistant/"
# What the front end asks in the browser's storage, as it keeps it there (`useLocalStorage`, version 1), and how its
# pages mark what is the assistant's.
_HEAD = b"""<script>
try {
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
  localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
} catch {}
</script><style>
[data-assistant-ui] { display: none !important }
.js-plotly-plot:not(:hover) .modebar { opacity: 0 !important }
</style>"""
_VIEWPORT = re.compile(rb'(<meta name="viewport" content=")[^"]*"')
_WIDTH = b"width=1280"  # pixels that a phone's browser lays pages out on; others do not ask


class WithoutAssistant:
    """An app that serves what another does but for the assistant. (MLflow would call a function to make an app.)

    Args:
        app: MLflow's; its pages are HTML documents with a head, its calls have the assistant's in a folder.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif ASSISTANT in path:
            await _refuse(send)
        elif path in ("/", "/index.html"):
            # Asked anew each time: what a browser has may be the page of a server without this.
            conditions = (b"if-none-match", b"if-modified-since", b"accept-encoding", b"range")
            headers = [(name, value) for name, value in scope["headers"] if name not in conditions]
            await self._app({**scope, "headers": headers}, receive, _with_head(send))
        else:
            await self._app(scope, receive, send)


async def _refuse(send: Send) -> None:
    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "the assistant is off here"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_head(send: Send) -> Send:
    """Sends a page with `_HEAD` at the head's end, in one piece."""
    start: Message = {}
    body = bytearray()

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        content = _VIEWPORT.sub(rb"\1" + _WIDTH + b'"', bytes(body)).replace(b"</head>", _HEAD + b"</head>", 1)
        kept = [(name, value) for name, value in start["headers"] if name.lower() not in (b"content-length", b"etag")]
        await send({**start, "headers": [*kept, (b"content-length", str(len(content)).encode())]})
        await send({"type": "http.response.body", "body": content})

    return sent


def __getattr__(name: str) -> WithoutAssistant:
    """`app`, made when the server asks for it: MLflow's own takes seconds, and reads the environment it is given."""
    if name != "app":
        raise AttributeError(name)
    from mlflow.server.fastapi_app import app

    served = WithoutAssistant(app)
    globals()["app"] = served
    return served
