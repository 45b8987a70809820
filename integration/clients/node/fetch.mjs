// Node's own fetch over HTTP/1.1: so many requests at once, each sent once and checked by its body.
// Arguments: URL, requests, requests at once. Ends with a line of JSON, as the clients in Python do.

import { createHash, randomBytes } from "node:crypto";

const [url, requests, parallel] = [process.argv[2], +process.argv[3], +process.argv[4]];
const SIZES = [0, 1, 100, 1_000, 10_000, 300_000];
const report = { requests: 0, failed: 0, closes: 0, failures: [] };
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function fail(what) {
  report.failed += 1;
  if (report.failures.length < 5) report.failures.push(String(what));
}

async function lane() {
  while (report.requests < requests) {
    const id = String(++report.requests);
    const body = randomBytes(SIZES[report.requests % SIZES.length]);
    try {
      const response = await fetch(`${url}/echo`, { method: "POST", body, headers: { "x-id": id } });
      const received = Buffer.from(await response.arrayBuffer());
      if (response.headers.get("connection") === "close") report.closes += 1;
      if (response.status !== 200 || response.headers.get("x-id") !== id) {
        fail(`status ${response.status}, id ${response.headers.get("x-id")} for ${id}`);
      } else if (sha256(received) !== sha256(body)) {
        fail(`${received.length} other bytes than the ${body.length} sent`);
      }
    } catch (error) {
      fail(`${error} ${error.cause ?? ""}`);
    }
  }
}

await Promise.all(Array.from({ length: parallel }, lane));
console.log(JSON.stringify(report));
