"""MLflow's server without its assistant: its calls are refused, and the panel stays shut."""

import asyncio
from typing import Any

from study.mlflow_export.quiet_app import Message, Receive, Scope, Send, WithoutAssistant

INDEX = b'<html><head><meta name="viewport" content="width=device-width"/></head><body></body></html>'


async def mlflow(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers everything with a page, in two parts."""
    asked = {name for name, _ in scope["headers"]}
    headers = [(b"content-type", b"text/html"), (b"etag", b"1"), (b"content-length", str(len(INDEX)).encode())]
    await send({"type": "http.response.start", "status": 304 if b"if-none-match" in asked else 200, "headers": headers})
    await send({"type": "http.response.body", "body": INDEX[:20], "more_body": True})
    await send({"type": "http.response.body", "body": INDEX[20:]})


def asked(path: str, *headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: dict[str, Any] = {"type": "http", "path": path, "headers": list(headers)}
    asyncio.run(WithoutAssistant(mlflow)(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def test_the_assistants_calls_are_refused() -> None:
    for path in ("/ajax-api/3.0/mlflow/assistant/config", "/prefix/ajax-api/3.0/mlflow/assistant/message"):
        status, _, body = asked(path)
        assert status == 404 and b"assistant is off" in body


def test_the_page_says_that_the_panel_was_opened_and_is_whole() -> None:
    status, headers, body = asked("/", (b"if-none-match", b"1"))
    assert status == 200 and b"etag" not in headers
    assert int(headers[b"content-length"]) == len(body)
    assert body.index(b"autoOpenedOnFirstLoad") < body.index(b"</head>")
    assert body.endswith(b"<body></body></html>")


def test_a_phone_lays_the_page_out_as_a_desktop_does() -> None:
    assert b'<meta name="viewport" content="width=1280"' in asked("/")[2]


def test_everything_else_is_served_as_it_is() -> None:
    status, headers, body = asked("/ajax-api/2.0/mlflow/runs/search", (b"if-none-match", b"1"))
    assert (status, headers[b"etag"], body) == (304, b"1", INDEX)
