"""The client: wrk, one thread, cycling through prepared bodies."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
local folder, path = %(folder)s, %(path)s
local requests, at = {}, 0

local function read(name)
  local file = assert(io.open(folder .. "/" .. name, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(args)
  for i = 1, %(count)d do
    local headers = {}
    for name, value in read(i .. ".headers"):gmatch("([^\\n:]+): ([^\\n]+)") do headers[name] = value end
    requests[i] = wrk.format("POST", path, headers, read(i .. ".body"))
  end
end

function request()
  at = at %% #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\\nBENCH {"requests": %%d, "seconds": %%f, "p50_s": %%f, "p99_s": %%f, "refused": %%d, "broken": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass
class Round:
    """One window. Errors are answers with a status of 400 or more, broken connections and time-outs."""

    rate: float
    p50_s: float
    p99_s: float
    errors: int


def prepare(folder, path, bodies):
    """Writes the bodies and the script; returns the script's path."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    for i, body in enumerate(bodies, start=1):
        (folder / f"{i}.body").write_bytes(body.content)
        (folder / f"{i}.headers").write_text(
            "".join(f"{name}: {value}\n" for name, value in body.headers.items())
        )
    script = folder / "bodies.lua"
    script.write_text(
        SCRIPT % {"folder": json.dumps(str(folder)), "path": json.dumps(path), "count": len(bodies)}
    )
    return script


def measure(core, port, script, connections, seconds):
    """One window of at least a second."""
    whole = max(1, round(seconds))
    command = [
        "taskset",
        "-c",
        core,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{whole}s",
        "--timeout",
        "30s",
    ]
    command += ["-s", str(script), f"http://127.0.0.1:{port}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=whole + 90)
    for line in result.stdout.splitlines():
        if line.startswith("BENCH "):
            found = json.loads(line.removeprefix("BENCH "))
            # wrk counts an answer with an error's status among its requests; only the others make the rate.
            good = found["requests"] - found["refused"]
            errors = found["refused"] + found["broken"]
            return Round(good / found["seconds"], found["p50_s"], found["p99_s"], errors)
    raise RuntimeError(f"wrk said nothing to read: {(result.stdout + result.stderr)[-400:]}")
