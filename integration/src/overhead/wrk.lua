-- The client of `cargo overhead`: one in so many requests has the next stamp, all others have a header that
-- is as long, and what came of all is said in one line of JSON.
local seq = 0
local head, middle, tail, edges, one_in
local names = {}

function init(args)
  head = "GET " .. args[1] .. " HTTP/1.1\r\nHost: " .. args[2] .. "\r\n"
  names = {[true] = args[4] .. ": id=\"edge-", [false] = "spillway-no: id=\"edge-"}
  one_in = tonumber(args[5])
  middle = "\", vm=v0123456789abcdef, seq="
  tail = ", conn="
  edges = tonumber(args[3])
end

function request()
  seq = seq + 1
  return head .. names[seq % one_in == 0] .. (2 + seq % edges) .. middle .. seq .. tail .. (seq % 50) .. ", age=60, open=50\r\n\r\n"
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "{\"requests\":%d,\"duration_us\":%d,\"p50_us\":%d,\"p99_us\":%d,\"p999_us\":%d,\"errors\":%d}\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
