"""What holds for every request, before any route sees it: a bounded number of connections, a bounded body, headers that
a browser is held to by."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_LINES = 400  # connections at once; a process mostly may open 1024 files, and journal and port need theirs
HEAD_S = 10.0  # a connection that has asked for nothing after so long is closed
LARGEST_BODY = 65_536
MOST_READ = 64 << 20
BODY_S = 10.0  # for the whole of it
# No inline script or style, nothing from elsewhere; nobody may put the page into a frame.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}


class Line(H11Protocol):
    """One connection; closed at once beyond MOST_LINES of them, and when a request is not whole within HEAD_S of its
    first byte, the first one within HEAD_S of the connection."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_LINES:
            transport.abort()
        else:
            self._late = self.loop.call_later(HEAD_S, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        asked = self.cycle is not None and not self.cycle.response_complete
        if asked and self._late is not None:
            self._late.cancel()
            self._late = None
        elif not asked and self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What was not understood, in the form of every other refusal."""
        body = _problem("this is no HTTP/1.1 request that is understood; for https put a TLS proxy before this server")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close"),
                   *((name.encode(), value.encode()) for name, value in _HEADERS.items())]  # fmt: skip
        for event in (h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body),
                      h11.EndOfMessage()):  # fmt: skip
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)


class Guard:
    """ASGI middleware: refuses a body above LARGEST_BODY or slower than BODY_S, and sets the security headers that the
    answer does not set itself."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(
                    (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in there
                )]  # fmt: skip
            await send(message)

        try:
            body = await _body(scope, receive)
        except _Refused as refused:
            await _answer(guarded, *refused.args)
            return
        await self._app(scope, _replay(body, receive), guarded)


class _Refused(Exception):
    """(status, sentence)"""


async def _body(scope, receive) -> bytes:
    """The whole body. Raises _Refused."""
    too_large = _Refused(413, f"the body is larger than {LARGEST_BODY} bytes")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if length.isdigit() and int(length) > MOST_READ:
        raise too_large
    body, count = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Refused(400, "the request ended before its body did")
                count += len(message.get("body", b""))
                if count <= LARGEST_BODY:
                    body += message.get("body", b"")
                if count > MOST_READ:
                    raise too_large
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise _Refused(408, f"the body did not come within {BODY_S:.0f} s") from None
    # Who is cut off while sending may never see the answer, so what is too large is read to its end and dropped.
    if count > LARGEST_BODY:
        raise too_large
    return bytes(body)


def _replay(body: bytes, receive):
    """What the application receives: the body in one piece, then what else comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message():
        return waiting.pop() if waiting else await receive()

    return next_message


def _problem(sentence: str) -> bytes:
    return json.dumps({"error": sentence}).encode()


async def _answer(send, status: int, sentence: str) -> None:
    body = _problem(sentence)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
