"""WebSockets over HTTP/2 (RFC 8441): streams by the library `h2`, frames by `websockets`, against the origin of websocket.py.

Usage: websocket_h2.py CLEAR TLS CA: the ports of the listeners in clear text and with TLS, and the file of the CA.
"""

import asyncio
import os
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from said import attempt, expect

LARGE = 16 * 1024 * 1024
MESSAGES = 1000


class Connection:
    """One HTTP/2 connection."""

    async def open(self, port, context):
        name = "localhost" if context else None
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        if context:
            expect(self.writer.get_extra_info("ssl_object").selected_alpn_protocol(), "h2")
        self.scheme = "https" if context else "http"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.streams, self.moved, self.settled = {}, asyncio.Condition(), asyncio.Event()
        await self.flush()
        self.task = asyncio.ensure_future(self.read())
        await self.settled.wait()
        return self

    async def close(self):
        self.task.cancel()
        self.writer.close()

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def read(self):
        why = "the connection ended"
        try:
            await self.read_all()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        for stream in self.streams.values():
            stream.ended = stream.ended or why
        async with self.moved:
            self.moved.notify_all()

    async def read_all(self):
        while data := await self.reader.read(65536):
            for event in self.h2.receive_data(data):
                self.take(event)
            await self.flush()
            async with self.moved:
                self.moved.notify_all()

    def take(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settled.set()
        stream = self.streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.head = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(dict(event.headers)[b":status"].decode())
        elif isinstance(event, h2.events.DataReceived):
            stream.take(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = "well"
        elif isinstance(event, h2.events.StreamReset):
            # Once all is answered, that nobody wants the rest of the request is no harm.
            stream.ended = stream.ended or f"reset with {event.error_code!r}"

    def knows(self):
        """Whether the server has said SETTINGS_ENABLE_CONNECT_PROTOCOL."""
        return self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)

    async def request(self, fields, ends=False):
        stream = Stream(self, self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        self.h2.send_headers(stream.id, fields, end_stream=ends)
        await self.flush()
        await self.until(lambda: stream.head or stream.interim or stream.ended)
        return stream

    async def get(self, path):
        fields = [(":method", "GET"), (":scheme", self.scheme), (":authority", "localhost"), (":path", path)]
        return await self.request(fields, ends=True)

    async def websocket(self, path):
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", self.scheme),
            (":authority", "localhost"),
            (":path", path),
            ("sec-websocket-version", "13"),
            ("origin", "https://localhost"),
        ]
        stream = await self.request(fields)
        stream.is_websocket = stream.head is not None and stream.head[":status"] == "200"
        return stream

    async def until(self, reached):
        async with self.moved:
            await self.moved.wait_for(reached)


class Stream:
    """A stream, and the WebSocket on it."""

    def __init__(self, connection, id):
        self.connection, self.id = connection, id
        self.head, self.ended, self.body = None, None, bytearray()
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.frames, self.interim, self.is_websocket = [], [], False

    def take(self, data):
        if self.is_websocket:
            self.protocol.receive_data(data)
            self.frames.extend(self.protocol.events_received())
        else:
            self.body += data

    async def send(self, frame):
        data, connection = memoryview(frame.serialize(mask=True)), self.connection
        while data:
            room = min(connection.h2.local_flow_control_window(self.id), connection.h2.max_outbound_frame_size, len(data))
            if room == 0:
                await connection.until(lambda: connection.h2.local_flow_control_window(self.id) > 0 or self.ended)
                expect(self.ended, None)
                continue
            connection.h2.send_data(self.id, bytes(data[:room]))
            data = data[room:]
            await connection.flush()

    async def end(self):
        self.connection.h2.end_stream(self.id)
        await self.connection.flush()

    async def message(self):
        """The next message, whole, or whatever else the next frame is."""
        parts, opcode = [], None
        while True:
            await self.connection.until(lambda: self.frames or self.ended)
            if not self.frames:
                raise AssertionError(f"the stream ended: {self.ended}")
            frame = self.frames.pop(0)
            opcode = frame.opcode if opcode is None else opcode
            parts.append(bytes(frame.data))
            if frame.fin:
                return opcode, b"".join(parts)


class Trials:
    """What is tried over each listener."""

    def __init__(self, port, context):
        self.port, self.context = port, context

    async def on(self, trial):
        connection = await Connection().open(self.port, self.context)
        try:
            return await trial(connection)
        finally:
            await connection.close()

    async def opens(self, connection, path="/ws/echo"):
        expect(connection.knows(), 1)
        stream = await connection.websocket(path)
        expect((stream.ended, stream.head and stream.head[":status"]), (None, "200"))
        return stream

    async def messages(self, connection):
        stream = await self.opens(connection)
        for index in range(MESSAGES):
            await stream.send(Frame(Opcode.TEXT, str(index).encode()))
        for index in range(MESSAGES):
            expect(await stream.message(), (Opcode.TEXT, str(index).encode()))

    async def large(self, connection):
        stream, large = await self.opens(connection), os.urandom(LARGE)
        await stream.send(Frame(Opcode.BINARY, large))
        expect(await stream.message() == (Opcode.BINARY, large), True)

    async def beside(self, connection):
        """Two WebSockets and requests on one connection."""
        one, other = await self.opens(connection), await self.opens(connection)
        for index in range(50):
            await one.send(Frame(Opcode.TEXT, b"one"))
            await other.send(Frame(Opcode.TEXT, b"other"))
            asked = await connection.get("/web/small")
            expect(asked.head and asked.head[":status"], "200")
            expect((await other.message(), await one.message()), ((Opcode.TEXT, b"other"), (Opcode.TEXT, b"one")))

    async def closed_by_client(self, connection):
        stream = await self.opens(connection)
        await stream.send(Frame(Opcode.PING, b"there"))
        expect(await stream.message(), (Opcode.PONG, b"there"))
        await stream.send(Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        expect(await stream.message(), (Opcode.CLOSE, (1000).to_bytes(2, "big")))
        await stream.end()
        await connection.until(lambda: stream.ended)
        expect(stream.ended, "well")

    async def closed_by_server(self, connection):
        stream = await self.opens(connection, "/ws/close")
        await stream.send(Frame(Opcode.TEXT, b"hello"))
        expect(await stream.message(), (Opcode.CLOSE, (4001).to_bytes(2, "big") + b"enough"))
        await stream.send(Frame(Opcode.CLOSE, (4001).to_bytes(2, "big")))
        await stream.end()
        await connection.until(lambda: stream.ended)
        expect(stream.ended, "well")

    async def half_closed(self, connection):
        stream = await self.opens(connection)
        for _ in range(100):
            await stream.send(Frame(Opcode.TEXT, b"x"))
        await stream.send(Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        await stream.end()
        # The origin drops what it has not read when it is told goodbye.
        while (got := await stream.message()) == (Opcode.TEXT, b"x"):
            pass
        expect(got, (Opcode.CLOSE, (1000).to_bytes(2, "big")))
        await connection.until(lambda: stream.ended)
        expect(stream.ended, "well")

    async def asked_for(self, connection):
        """A body that is sent only once it is asked for."""
        fields = [(":method", "POST"), (":scheme", connection.scheme), (":authority", "localhost"), (":path", "/web/echo")]
        stream = await connection.request(fields + [("expect", "100-continue")])
        expect(stream.interim, ["100"])
        connection.h2.send_data(stream.id, b"body", end_stream=True)
        await connection.flush()
        await connection.until(lambda: stream.ended)
        expect((stream.ended, bytes(stream.body)), ("well", b"body"))

    async def refused(self, connection):
        """An origin that switches nothing."""
        stream = await connection.websocket("/web/small")
        expect(stream.ended in (None, "well") and stream.head[":status"] != "200", True)
        return f"status {stream.head[':status']}"


TRIALS = {
    "1,000 messages": Trials.messages,
    "16 MB and back": Trials.large,
    "two beside requests on one connection": Trials.beside,
    "ping, closed by the client": Trials.closed_by_client,
    "closed by the server": Trials.closed_by_server,
    "half closed": Trials.half_closed,
    "an origin that switches nothing": Trials.refused,
    "beside it, a body after 100 (Continue)": Trials.asked_for,
}


async def main(clear, tls, ca):
    trust = ssl.create_default_context(cafile=ca)
    trust.set_alpn_protocols(["h2"])
    for trials, name in ((Trials(int(clear), None), "clear text"), (Trials(int(tls), trust), "TLS")):
        for what, trial in TRIALS.items():
            await attempt(f"{what}; {name}", lambda: trials.on(lambda connection: trial(trials, connection)))


asyncio.run(main(*sys.argv[1:]))
