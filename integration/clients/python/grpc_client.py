"""grpcio: all four kinds of call and one that is refused, in turn, many at once.

No call is sent twice: without a retry policy grpcio only moves a call that has not left the client
to the next connection. With --no-retries it does not even that, and such a call fails.
"""

import asyncio
import sys

import grpc

from report import Report, arguments

REPEATS = 5  # As integration/src/echo.rs has it.
MESSAGES = 7


async def unary(channel, body):
    return await channel.unary_unary("/spillway.Echo/Unary")(body, timeout=20) == body


async def server_stream(channel, body):
    call = channel.unary_stream("/spillway.Echo/Repeat")(body, timeout=20)
    return [message async for message in call] == [body] * REPEATS


async def client_stream(channel, body):
    async def messages():
        for _ in range(MESSAGES):
            yield body
            await asyncio.sleep(0)

    call = channel.stream_unary("/spillway.Echo/Collect")(messages(), timeout=20)
    return await call == body * MESSAGES


async def chat(channel, body):
    """Each message is sent when the one before has come back."""
    call = channel.stream_stream("/spillway.Echo/Chat")(timeout=20)
    for _ in range(MESSAGES):
        await call.write(body)
        if await call.read() != body:
            return False
    await call.done_writing()
    return await call.read() is grpc.aio.EOF and await call.code() == grpc.StatusCode.OK


async def refused(channel, body):
    """The server's error is the response: it comes without a message, in one piece."""
    try:
        await channel.unary_unary("/spillway.Echo/Refuse")(body, timeout=20)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
            return True
        raise
    return False


KINDS = [unary, server_stream, client_stream, chat, refused]


async def lane(channel, options, report):
    while report.requests < options.requests:
        _, body = report.parcel()
        kind = KINDS[report.requests % len(KINDS)]
        try:
            if not await kind(channel, body):
                report.fail(f"{kind.__name__}: other messages than those sent")
        except grpc.aio.AioRpcError as error:
            report.fail(f"{kind.__name__}: {error.code()} {error.details()}")


async def main():
    settings = [("grpc.max_receive_message_length", -1)]
    if "--no-retries" in sys.argv:
        sys.argv.remove("--no-retries")
        settings.append(("grpc.enable_retries", 0))
    options, report = arguments(), Report()
    target = f"{options.host}:{options.port}"
    if options.ca:
        trust = grpc.ssl_channel_credentials(open(options.ca, "rb").read())
        made = grpc.aio.secure_channel(target, trust, settings)
    else:
        made = grpc.aio.insecure_channel(target, settings)
    async with made as channel:
        await asyncio.gather(*(lane(channel, options, report) for _ in range(options.parallel)))
    report.print()


asyncio.run(main())
