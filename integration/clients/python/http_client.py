"""Python's own http.client over HTTP/1.1: one request after the other."""

import http.client
import ssl

from report import Report, arguments

options, report = arguments(), Report()
if options.ca:
    trust = ssl.create_default_context(cafile=options.ca)
    connection = http.client.HTTPSConnection(options.host, options.port, timeout=20, context=trust)
else:
    connection = http.client.HTTPConnection(options.host, options.port, timeout=20)
while report.requests < options.requests:
    number, body = report.parcel()
    try:
        connection.request("POST", "/echo", body, {"x-id": number})
        response = connection.getresponse()
        report.closes += response.getheader("connection") == "close"
        report.judge(number, body, response.status, response.getheader("x-id"), response.read())
    except (OSError, http.client.HTTPException) as error:
        report.fail(repr(error))
        connection.close()
report.print()
