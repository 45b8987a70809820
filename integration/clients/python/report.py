"""What all test clients in Python share: their arguments, and the line of JSON that they end with.

A client sends so many requests, each once, and says how many it sent, how many failed, and how
many closes it saw. It never sends a request again: what failed has failed.
"""

import argparse
import hashlib
import json
import os
from urllib.parse import urlsplit

# Bodies: most of them small, some larger than a window of flow control.
SIZES = [0, 1, 100, 1_000, 10_000, 100_000]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="the edge, such as https://127.0.0.1:10000")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=1, help="requests at once")
    parser.add_argument("--ca", help="the authority to trust, a PEM file")
    options = parser.parse_args()
    options.host, options.port = urlsplit(options.url).hostname, urlsplit(options.url).port
    return options


class Report:
    def __init__(self):
        self.requests = self.failed = self.closes = 0
        self.failures = []

    def parcel(self):
        """The next request: its id and its body, unlike any other."""
        self.requests += 1
        number = self.requests
        return str(number), os.urandom(SIZES[number % len(SIZES)])

    def judge(self, number, body, status, received_number, received):
        """Counts a response as failed where it is not 200 with the id and the body sent."""
        if status != 200 or received_number != number:
            self.fail(f"status {status}, id {received_number!r} for {number!r}")
        elif hashlib.sha256(received).digest() != hashlib.sha256(body).digest():
            self.fail(f"{len(received)} other bytes than the {len(body)} sent")

    def fail(self, what):
        self.failed += 1
        if len(self.failures) < 5:
            self.failures.append(str(what))

    def print(self):
        print(json.dumps(vars(self)))
