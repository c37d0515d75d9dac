"""WebSockets by the library `websockets`, at both ends of the proxy.

Usage: websocket.py origin: says its port, and serves until it is killed.
       websocket.py client CLEAR TLS CA: the ports of the listeners in clear text and with TLS, and the file of the CA.
"""

import asyncio
import base64
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from said import attempt, expect

LARGE = 16 * 1024 * 1024
MESSAGES = 1000


async def origin():
    async def handle(socket):
        path = socket.request.path
        if path == "/ws/close":
            await socket.recv()
            await socket.close(4001, "enough")
        elif path == "/ws/ping":
            told = await asyncio.wait_for(await socket.ping(b"are you there"), 30)
            await socket.send(f"pong after {told >= 0}")
        else:
            async for message in socket:
                await socket.send(message)

    def subprotocol(socket, offered):
        return "chat" if "chat" in offered else None

    async with serve(handle, "127.0.0.1", 0, max_size=None, select_subprotocol=subprotocol) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


class Sockets:
    """What is tried over each listener."""

    def __init__(self, scheme, port, context):
        self.scheme, self.port, self.context = scheme, port, context

    def open(self, path, **options):
        options = {"max_size": None, "ssl": self.context, "host": "127.0.0.1", "port": self.port} | options
        return connect(f"{self.scheme}://localhost:{self.port}{path}", **options)

    async def messages(self):
        async with self.open("/ws/echo", subprotocols=["chat"]) as socket:
            expect(socket.subprotocol, "chat")
            for index in range(MESSAGES):
                await socket.send(str(index) * (index % 50))
            for index in range(MESSAGES):
                expect(await socket.recv(), str(index) * (index % 50))

    async def large(self):
        large = os.urandom(LARGE)
        for compression in (None, "deflate"):
            async with self.open("/ws/echo", compression=compression) as socket:
                await socket.send(large)
                expect(await socket.recv() == large, True)

    async def fragmented(self):
        async def parts():
            for index in range(500):
                yield bytes([index % 256]) * 1000

        async with self.open("/ws/echo") as socket:
            await socket.send(parts())
            expect(await socket.recv(), b"".join([part async for part in parts()]))
            await socket.send(["one ", "", "two"])
            expect(await socket.recv(), "one two")

    async def pings(self):
        async with self.open("/ws/echo") as socket:
            await asyncio.wait_for(await socket.ping(b"x" * 125), 30)
            await asyncio.wait_for(await socket.ping(), 30)
        async with self.open("/ws/ping") as socket:
            expect(await socket.recv(), "pong after True")

    async def closed_by_client(self):
        async with self.open("/ws/echo") as socket:
            await socket.send("hello")
            expect(await socket.recv(), "hello")
            await socket.close(4000, "done")
            expect((socket.close_code, socket.close_reason), (4000, "done"))

    async def closed_by_server(self):
        async with self.open("/ws/close") as socket:
            await socket.send("hello")
            try:
                raise AssertionError(f"got {await socket.recv()!r}")
            except ConnectionClosed as end:
                expect((end.rcvd.code, end.rcvd.reason, end.rcvd_then_sent), (4001, "enough", True))

    async def half_closed(self):
        """A client that says all, its goodbye too, ends its side, and only then listens."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context, server_hostname=self.name())
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws/echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        expect(head.split()[1], b"101")
        for _ in range(100):
            writer.write(Frame(Opcode.TEXT, b"x" * 100).serialize(mask=True))
        writer.write(Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")).serialize(mask=True))
        if writer.can_write_eof():
            writer.write_eof()
        rest = await reader.read(-1)
        # The origin drops what it has not read when it is told goodbye.
        echoes, goodbye = rest[:-4], rest[-4:]
        echo = Frame(Opcode.TEXT, b"x" * 100).serialize(mask=False)
        expect(echoes == echo * (len(echoes) // len(echo)), True)
        expect(goodbye, Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")).serialize(mask=False))
        writer.close()

    def name(self):
        return "localhost" if self.context else None

    async def many(self):
        async def one(index):
            async with self.open("/ws/echo") as socket:
                await socket.send(str(index))
                expect(await socket.recv(), str(index))

        await asyncio.gather(*(one(index) for index in range(100)))

    async def refused(self):
        """What is no WebSocket to the origin is answered by it, and not with 101."""
        try:
            async with self.open("/web/small"):
                raise AssertionError("opened")
        except Exception as error:
            expect(type(error).__name__, "InvalidStatus")
            return f"status {error.response.status_code}"


TRIALS = {
    "1,000 messages, with a subprotocol": Sockets.messages,
    "16 MB and back, plain and deflated": Sockets.large,
    "fragmented": Sockets.fragmented,
    "ping and pong from either side": Sockets.pings,
    "closed by the client": Sockets.closed_by_client,
    "closed by the server": Sockets.closed_by_server,
    "half closed": Sockets.half_closed,
    "100 at once": Sockets.many,
    "an origin that switches nothing": Sockets.refused,
}


async def client(clear, tls, ca):
    trust = ssl.create_default_context(cafile=ca)
    for sockets, name in ((Sockets("ws", int(clear), None), "clear text"), (Sockets("wss", int(tls), trust), "TLS")):
        for what, trial in TRIALS.items():
            await attempt(f"{what}; {name}", lambda: trial(sockets))


asyncio.run(origin() if sys.argv[1] == "origin" else client(*sys.argv[2:]))
