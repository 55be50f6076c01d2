"""Measures what comparing two large files costs, by Windlass, Evidently and NannyML one after the other, and writes the
table of docs/benchmarks.md.

Whole processes, from their start: what one waits for on the command line or in a nightly job.
"""

# This process stays small, without numpy: a child's peak memory counts its parent's at the moment of the start.
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
import machine  # noqa: E402
import tables  # noqa: E402

PEERS = ("evidently", "nannyml")
SECONDS_MAX, MIB_MAX = 2.0, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each file")
    parser.add_argument("--rounds", type=int, default=3, help="of Windlass; its peers have one")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a hundred thousand rows, once; prints, writes no file unless --out is given",
    )
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/benchmarks.md"
    )
    arguments = parser.parse_args()
    install.until_stopped(measure, arguments)


def measure(arguments):
    rows, rounds = arguments.rows, arguments.rounds
    if arguments.quick:
        rows, rounds = min(rows, 100_000), 1
    program = (arguments.windlass or install.binary("windlass")).resolve()
    pythons = {it: install.peer(it) for it in PEERS}
    watch = machine.Watch([])
    with tempfile.TemporaryDirectory() as folder:
        install.say(f"making two files of {rows:,} rows")
        install.run([pythons["nannyml"], install.BENCH / "wide_tables.py", folder, rows])
        files = [f"{folder}/{it}.parquet" for it in ("reference", "current")]
        for file in files:
            # All find them in the system's cache.
            Path(file).read_bytes()
        mib = sum(Path(it).stat().st_size for it in files) / 2**20
        command = [program, "drift", "--reference", files[0], "--current", files[1], "--json"]
        measured = {"windlass": [once(command) for _ in range(rounds)]}
        for name, python in pythons.items():
            script = install.BENCH / "peers" / name / "drift.py"
            measured[name] = [once([python, script, "--once", *files])]
    # All that was measured is a child of this process: what is left is somebody else's.
    stray = watch.stop([]).stray
    versions = {name: install.version(python, name) for name, python in pythons.items()}
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    versions["windlass"] = version.stdout.splitlines()[0].removeprefix("windlass ")
    commit = install.commit()
    conditions = (
        f"{rows:,} rows and as many, 15 numeric columns and 5 of texts, {mib:.0f} MiB of Parquet. Medians of {rounds} "
        f"for Windlass, one run for the others. {datetime.date.today()}. {machine.description()}. Windlass at "
        f"{commit}. Other programs used {stray:.0%} of both cores meanwhile."
    )
    content = f"{aims(measured)}\n\n{table(measured, versions)}\n\n{conditions}"
    print(content)
    install.keep("drift-speed", {"rows": rows, "measured": measured})
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "benchmarks.md")
    if out:
        tables.write(out, {"drift": content}, {"drift": "Drift between two files"})


def once(command):
    """Runs it; its seconds, its processor seconds, its peak memory and the columns that it calls drifted."""
    install.say(f"measuring {Path(command[0]).name} {Path(command[1]).parent.name}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}
    environment |= {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
    with tempfile.TemporaryFile("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [str(it) for it in command], stdout=output, stderr=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command} ended with {process.returncode}")
        output.seek(0)
        answer = json.load(output)
    if "columns" in answer:
        drifted = [it["name"] for it in answer["columns"] if it["verdict"] == "drift"]
    else:
        drifted = answer["drifted"]
    return {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "drifted": sorted(drifted),
    }


def median(runs, name):
    return statistics.median(it[name] for it in runs)


def aims(measured):
    own = measured["windlass"]
    wall_s, peak_mib = median(own, "wall_s"), max(it["peak_mib"] for it in own)
    rows = [
        tables.aim(
            f"drift of two files: at most {SECONDS_MAX:g} s",
            f"{wall_s:.2f} s",
            wall_s <= SECONDS_MAX,
        ),
        tables.aim(f"and at most {MIB_MAX} MiB", f"{peak_mib:.0f} MiB", peak_mib <= MIB_MAX),
    ]
    return tables.table(["aim", "measured", ""], rows)


def table(measured, versions):
    own_s = median(measured["windlass"], "wall_s")
    head = [
        "tool",
        "seconds",
        "processor seconds",
        "peak MiB",
        "× Windlass's time",
        "drifted columns",
    ]
    rows = [
        [
            f"{name} {versions[name]}",
            f"{median(runs, 'wall_s'):.2f}",
            f"{median(runs, 'cpu_s'):.2f}",
            f"{max(it['peak_mib'] for it in runs):.0f}",
            f"{median(runs, 'wall_s') / own_s:.0f}",
            ", ".join(runs[0]["drifted"]) or "none",
        ]
        for name, runs in measured.items()
    ]
    return tables.table(head, rows)


if __name__ == "__main__":
    main()
