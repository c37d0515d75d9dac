"""A gRPC server without any .proto: messages are bytes. Says its port, and serves until it is killed.

Usage: grpc_origin.py PORT, 0 for a free one.
"""

import asyncio
import sys

import grpc

SERVICES = ("lictor.Auto", "lictor.H2", "lictor.Mortal")
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

# How many calls of Wait have begun, and how many were cancelled.
counts = {"begun": 0, "cancelled": 0}


async def echo(request, context):
    given = dict(context.invocation_metadata())
    await context.send_initial_metadata((("x-initial", given.get("x-sent", "none")),))
    context.set_trailing_metadata((("x-trailing", "at the end"), ("x-trailing-bin", bytes(range(256)))))
    return request


async def stream(request, context):
    number, size = (int(word) for word in request.split())
    for index in range(number):
        yield index.to_bytes(4, "big") * (size // 4)


async def collect(requests, context):
    number, size = 0, 0
    async for request in requests:
        number, size = number + 1, size + len(request)
    return f"{number} {size}".encode()


async def chat(requests, context):
    async for request in requests:
        yield request


async def fail(request, context):
    context.set_trailing_metadata((("x-why", "it was asked to"), ("x-why-bin", b"\x00\xff\n")))
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % wrong, für immer\n")


async def fail_late(request, context):
    for index in range(3):
        yield bytes([index])
    await context.abort(grpc.StatusCode.DATA_LOSS, "after three")


async def wait(request, context):
    counts["begun"] += 1
    yield b"begun"
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        counts["cancelled"] += 1
        raise


async def wait_mute(request, context):
    await asyncio.sleep(60)
    return b""


async def nap(request, context):
    await asyncio.sleep(0.05)
    return request


async def count(request, context):
    return str(counts[request.decode()]).encode()


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Stream": grpc.unary_stream_rpc_method_handler(stream),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
    "WaitMute": grpc.unary_unary_rpc_method_handler(wait_mute),
    "Nap": grpc.unary_unary_rpc_method_handler(nap),
    "Count": grpc.unary_unary_rpc_method_handler(count),
}


async def main(port):
    server = grpc.aio.server(options=LARGE)
    for service in SERVICES:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, METHODS),))
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main(int(sys.argv[1])))
