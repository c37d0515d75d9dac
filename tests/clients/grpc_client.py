"""gRPC's own client against grpc_origin.py, through the proxy.

Usage: grpc_client.py CLEAR TLS CA CONFIGURATION PROCESS MORTAL: the ports of the listeners in clear text and with TLS, the file of the
CA, the proxy's file of configuration, its process id, and the port at which it expects the endpoint of lictor.Mortal.
"""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time

import grpc

from said import attempt, expect

CLEAR, TLS, CA, CONFIGURATION, PROCESS, MORTAL = sys.argv[1:]
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
FOUR_MB = 4 * 1024 * 1024
CALLS = 1000


def channel(port, authority="localhost"):
    options = LARGE + [("grpc.default_authority", authority), ("grpc.max_reconnect_backoff_ms", 500)]
    if port == CLEAR:
        return grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port}", options=options)
    options.append(("grpc.ssl_target_name_override", "localhost"))
    trust = grpc.ssl_channel_credentials(pathlib.Path(CA).read_bytes())
    return grpc.aio.secure_channel(f"ipv4:127.0.0.1:{port}", trust, options=options)


async def refused(call):
    """The error that a call ends with."""
    try:
        got = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"answered with {got!r:.100}")


async def all_of(stream):
    return [message async for message in stream]


class Calls:
    """What is tried with each channel and each of the services that lictor carries in another way."""

    def __init__(self, channel, service):
        self.channel, self.service = channel, service

    def at(self, method):
        return f"/{self.service}/{method}"

    async def unary(self):
        call = self.channel.unary_unary(self.at("Echo"))(b"hello", metadata=(("x-sent", "this"),), timeout=30)
        expect(await call, b"hello")
        expect(dict(await call.initial_metadata()).get("x-initial"), "this")
        trailing = dict(await call.trailing_metadata())
        expect((trailing["x-trailing"], trailing["x-trailing-bin"]), ("at the end", bytes(range(256))))
        expect((await call.code(), await self.channel.unary_unary(self.at("Echo"))(b"")), (grpc.StatusCode.OK, b""))

    async def server_streaming(self):
        got = await all_of(self.channel.unary_stream(self.at("Stream"))(b"1000 1024", timeout=50))
        expect(got, [index.to_bytes(4, "big") * 256 for index in range(1000)])

    async def client_streaming(self):
        async def requests():
            for _ in range(1000):
                yield bytes(1000)

        expect(await self.channel.stream_unary(self.at("Collect"))(requests(), timeout=50), b"1000 1000000")

    async def both_streaming(self):
        # Each waits for the one before to come back.
        call = self.channel.stream_stream(self.at("Chat"))(timeout=50)
        for index in range(200):
            await call.write(str(index).encode())
            expect(await call.read(), str(index).encode())
        await call.done_writing()
        expect((await call.read(), await call.code()), (grpc.aio.EOF, grpc.StatusCode.OK))

    async def large(self):
        large = os.urandom(FOUR_MB)
        expect(await self.channel.unary_unary(self.at("Echo"))(large, timeout=50) == large, True)

    async def deadline(self):
        began = time.monotonic()
        error = await refused(self.channel.unary_unary(self.at("WaitMute"))(b"", timeout=0.5))
        expect((error.code(), time.monotonic() - began < 10), (grpc.StatusCode.DEADLINE_EXCEEDED, True))

    async def cancelled(self):
        count = self.channel.unary_unary(self.at("Count"))
        before = int(await count(b"cancelled"))
        call = self.channel.unary_stream(self.at("Wait"))(b"")
        expect(await call.read(), b"begun")
        call.cancel()
        while int(await count(b"cancelled")) == before:
            await asyncio.sleep(0.01)

    async def failed(self):
        error = await refused(self.channel.unary_unary(self.at("Fail"))(b"", timeout=30))
        expect((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "100 % wrong, für immer\n"))
        trailing = dict(error.trailing_metadata())
        expect((trailing["x-why"], trailing["x-why-bin"]), ("it was asked to", b"\x00\xff\n"))

    async def failed_late(self):
        call = self.channel.unary_stream(self.at("FailLate"))(b"", timeout=30)
        expect([await call.read() for _ in range(3)], [b"\x00", b"\x01", b"\x02"])
        error = await refused(call.read())
        expect((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "after three"))

    async def crowd(self):
        nap = self.channel.unary_unary(self.at("Nap"))
        bodies = [str(index).encode() for index in range(CALLS)]
        expect(await asyncio.gather(*(nap(body, timeout=50) for body in bodies)), bodies)


TRIALS = {
    "unary, with metadata before and after": Calls.unary,
    "server streaming, 1,000 messages": Calls.server_streaming,
    "client streaming, 1,000 messages": Calls.client_streaming,
    "both ways, 200 in turns": Calls.both_streaming,
    "4 MB and back": Calls.large,
    "deadline exceeded": Calls.deadline,
    "a cancelled call is cancelled at the server": Calls.cancelled,
    "error status with details and metadata": Calls.failed,
    "error status after three messages": Calls.failed_late,
    "1,000 calls at once": Calls.crowd,
}


async def no_route():
    async with channel(CLEAR, "nowhere.example") as nowhere:
        error = await refused(nowhere.unary_unary("/lictor.Auto/Echo")(b"", timeout=30))
        expect(error.code(), grpc.StatusCode.UNIMPLEMENTED)
        return error.details()


async def no_method():
    async with channel(CLEAR) as here:
        error = await refused(here.unary_unary("/lictor.Auto/Nothing")(b"", timeout=30))
        expect(error.code(), grpc.StatusCode.UNIMPLEMENTED)


class Mortal:
    """An endpoint that is killed and started again, and a channel that stays."""

    def __init__(self, channel):
        self.channel, self.process = channel, None

    def start(self):
        script = pathlib.Path(__file__).with_name("grpc_origin.py")
        self.process = subprocess.Popen([sys.executable, script, MORTAL], stdout=subprocess.PIPE)
        expect(self.process.stdout.readline(), f"{MORTAL}\n".encode())

    def kill(self):
        self.process.kill()
        self.process.wait()

    async def echo(self):
        return await self.channel.unary_unary("/lictor.Mortal/Echo")(b"hello", timeout=30)

    async def answers(self):
        while True:
            try:
                return expect(await self.echo(), b"hello")
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)

    async def killed(self):
        self.start()
        await self.answers()
        mute = asyncio.ensure_future(refused(self.channel.unary_unary("/lictor.Mortal/WaitMute")(b"", timeout=50)))
        call = self.channel.unary_stream("/lictor.Mortal/Wait")(b"", timeout=50)
        expect(await call.read(), b"begun")
        self.kill()
        error = await mute
        expect(error.code(), grpc.StatusCode.UNAVAILABLE)
        told = error.details()
        broken = await refused(call.read())
        expect(broken.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL), True)
        expect((await refused(self.echo())).code(), grpc.StatusCode.UNAVAILABLE)
        return f"{told}; in the middle of a stream {broken.code().name}"

    async def restarted(self):
        self.start()
        await self.answers()

    async def reloaded(self):
        """Calls and a stream go on over a reload, after which there is one more route."""
        more = self.channel.unary_unary("/lictor.More/Echo")
        expect((await refused(more(b""))).code() == grpc.StatusCode.OK, False)
        stream = self.channel.stream_stream("/lictor.Mortal/Chat")(timeout=50)
        await stream.write(b"before")
        expect(await stream.read(), b"before")
        with open(CONFIGURATION, "a", encoding="utf-8") as file:
            file.write('[[routes]]\nhost = "localhost"\npath = "/lictor.More/"\nrespond = { status = 403 }\n')
        os.kill(int(PROCESS), signal.SIGHUP)
        # 403 is PERMISSION_DENIED to gRPC.
        while (await refused(more(b""))).code() != grpc.StatusCode.PERMISSION_DENIED:
            expect(await self.echo(), b"hello")
        await stream.write(b"after")
        expect(await stream.read(), b"after")
        await stream.done_writing()
        expect(await stream.code(), grpc.StatusCode.OK)


async def main():
    for port, name in ((CLEAR, "clear text"), (TLS, "TLS")):
        async with channel(port) as here:
            for service, protocol in (("lictor.Auto", "auto"), ("lictor.H2", "h2")):
                for what, trial in TRIALS.items():
                    calls = Calls(here, service)
                    await attempt(f"{what}; {name}, cluster {protocol}", lambda: trial(calls))
    await attempt("no route is UNIMPLEMENTED", no_route)
    await attempt("no such method is the server's UNIMPLEMENTED", no_method)
    async with channel(TLS) as here:
        mortal = Mortal(here)
        try:
            await attempt("a killed server is UNAVAILABLE", mortal.killed)
            await attempt("the channel outlives the endpoint's restart", mortal.restarted)
            await attempt("calls and a stream outlive a reload by SIGHUP", mortal.reloaded)
        finally:
            if mortal.process:
                mortal.kill()


asyncio.run(main())
