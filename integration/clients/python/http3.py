"""An HTTP/3 client on aioquic: echoes over one connection, until the edge says GOAWAY.

aioquic reads GOAWAY and says nothing about it, so this client looks at the control stream itself.
As RFC 9114 (section 5.2) has it: no new requests on that connection, those in flight are finished.
"""

import asyncio
import ssl

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import FrameType, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

from report import Report, arguments

TIMEOUT = 20


class Http3(H3Connection):
    going_away = False

    def _check_control_frame_type(self, frame_type):
        if frame_type == FrameType.GOAWAY:
            self.going_away = True
        super()._check_control_frame_type(frame_type)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = Http3(self._quic)
        self.responses = {}

    @property
    def going_away(self):
        return self.http.going_away

    async def send(self, authority, number, body):
        """Sends one request, and waits for the end of its response: status, id, body."""
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.responses[stream] = (done, {}, bytearray())
        head = {":method": "POST", ":scheme": "https", ":authority": authority, ":path": "/echo"}
        head["x-id"] = number
        encoded = [(name.encode(), value.encode()) for name, value in head.items()]
        self.http.send_headers(stream, encoded, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(done, TIMEOUT)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for stream in list(self.responses):
                self.end(stream, ConnectionError(f"cut: {event.error_code} {event.reason_phrase}"))
        if isinstance(event, StreamReset):
            self.end(event.stream_id, ConnectionError(f"stream reset: {event.error_code}"))
        for http_event in self.http.handle_event(event):
            if getattr(http_event, "stream_id", None) in self.responses:
                self.received(http_event)

    def received(self, event):
        _, headers, body = self.responses[event.stream_id]
        if isinstance(event, HeadersReceived):
            headers.update(event.headers)
        elif isinstance(event, DataReceived):
            body += event.data
        if event.stream_ended:
            status = int(headers.get(b":status", 0))
            self.end(event.stream_id, (status, headers.get(b"x-id", b"").decode(), bytes(body)))

    def end(self, stream, result):
        done = self.responses.pop(stream, (None,))[0]
        if done is None or done.done():
            return
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)


async def lane(client, options, report):
    """One request after the other, as long as the connection takes new ones."""
    while report.requests < options.requests and not client.going_away:
        number, body = report.parcel()
        try:
            result = await client.send(f"{options.host}:{options.port}", number, body)
            report.judge(number, body, *result)
        except (OSError, asyncio.TimeoutError) as error:
            report.fail(repr(error))
            return


async def connection(options, report, configuration, left):
    """One connection, until it takes no more requests; then there is still its goodbye."""
    made = connect(options.host, options.port, configuration=configuration, create_protocol=Client)
    try:
        async with made as client:
            await asyncio.gather(*(lane(client, options, report) for _ in range(options.parallel)))
            report.closes += client.going_away
            left.set()
    finally:
        left.set()


async def main():
    options, report = arguments(), Report()
    configuration = QuicConfiguration(alpn_protocols=["h3"], is_client=True)
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.load_verify_locations(options.ca)
    connections = []
    while report.requests < options.requests:
        left = asyncio.Event()
        opened = connection(options, report, configuration, left)
        connections.append(asyncio.create_task(opened))
        await left.wait()
    await asyncio.gather(*connections)
    report.print()


asyncio.run(main())
