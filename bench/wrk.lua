-- Prints wrk's result as one line of JSON, and may send a list of targets in turn.
-- BENCH_TARGETS names a file with one "host path" a line; without it, wrk's own request is sent.

local requests, at = {}, 0

function init(arguments)
  local file = os.getenv("BENCH_TARGETS")
  if not file then return end
  for line in io.lines(file) do
    local host, path = line:match("^(%S+) (%S+)$")
    requests[#requests + 1] = wrk.format("GET", path, {["Host"] = host})
  end
  request = function()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"wrk": {"requests": %d, "bytes": %d, "duration_us": %d, "connect": %d, "read": %d, '
      .. '"write": %d, "status": %d, "timeout": %d, "p50_us": %.1f, "p99_us": %.1f}}\n',
    summary.requests, summary.bytes, summary.duration, e.connect, e.read, e.write, e.status,
    e.timeout, latency:percentile(50), latency:percentile(99)))
end
