"""httpx: over HTTP/1.1, or over HTTP/2 with --http2; one request after the other or many at once."""

import asyncio
import ssl
import sys

import httpx

from report import Report, arguments


async def lane(client, options, report):
    while report.requests < options.requests:
        number, body = report.parcel()
        try:
            response = await client.post("/echo", content=body, headers={"x-id": number})
            report.closes += response.headers.get("connection") == "close"
            received = response.headers.get("x-id")
            report.judge(number, body, response.status_code, received, response.content)
        except httpx.HTTPError as error:
            report.fail(repr(error))


async def main():
    http2 = "--http2" in sys.argv
    if http2:
        sys.argv.remove("--http2")
    options, report = arguments(), Report()
    trust = ssl.create_default_context(cafile=options.ca) if options.ca else True
    async with httpx.AsyncClient(
        base_url=options.url, http1=not http2, http2=http2, verify=trust, timeout=20, trust_env=False
    ) as client:
        await asyncio.gather(*(lane(client, options, report) for _ in range(options.parallel)))
    report.print()


asyncio.run(main())
