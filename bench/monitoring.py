"""Measures how often Windlass, Evidently and NannyML call drift where nothing changed and where something did, and how
near estimated quality comes to the real one; writes the tables of docs/monitoring.md.

Real tables, the same windows for all. Everything that is missing is installed first.
"""

import argparse
import dataclasses
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402

PARTS = ("false-alarms", "detection", "estimates")


def main():
    arguments = parse()
    # The tables come in NannyML's package and one beside it.
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
    install.within(install.peer("nannyml"), "-W", "ignore")
    install.until_stopped(measure, arguments)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few windows, to see that all works; prints, writes no file unless --out is given",
    )
    parser.add_argument(
        "--brief", action="store_true", help="a tenth of the windows and of the time, to the same tables"
    )
    parser.add_argument(
        "--few-peers",
        action="store_true",
        help="the peers are asked about a tenth of the unchanged windows: they take most of the time",
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument(
        "--estimate", type=Path, help="the built example `estimate` of stats, the same"
    )
    parser.add_argument("--note", default="", help="a sentence to put under every table")
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/monitoring.md"
    )
    arguments = parser.parse_args()
    arguments.parts = arguments.parts.split(",")
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(unknown)}")
    return arguments


def measure(arguments):
    import detectors
    import drifts
    import estimates
    import tables

    started = time.monotonic()
    program = (arguments.windlass or install.binary("windlass")).resolve()
    peers = {it: detectors.Peer(it) for it in ("evidently", "nannyml")}
    conditions = conditions_of(program, peers, arguments.note)
    sections, kept = {}, {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            tools = drifts.Tools(detectors.Windlass(program), peers, Path(folder))
            if "false-alarms" in arguments.parts:
                plan = drifts.BRIEF if arguments.brief else drifts.FULL
                plan = drifts.QUICK if arguments.quick else plan
                if arguments.few_peers:
                    plan = [dataclasses.replace(it, peers_references=1) for it in plan]
                found = drifts.false_alarms(tools, plan)
                sections["false-alarms"] = drifts.false_alarms_table(found)
                kept["false-alarms"] = [it.counts() for it in found]
            if "detection" in arguments.parts:
                plan = drifts.BRIEF_DETECTION if arguments.brief else drifts.FULL_DETECTION
                plan = drifts.QUICK_DETECTION if arguments.quick else plan
                found = drifts.detection(tools, plan)
                sections["detection"] = drifts.detection_table(found)
                kept["detection"] = [it.counts() for it in found]
    finally:
        for peer in peers.values():
            peer.stop()
    if "estimates" in arguments.parts:
        example = (arguments.estimate or install.example("stats", "estimate")).resolve()
        found = estimates.compared(example)
        sections["estimates"] = estimates.table(found)
        sections["estimates-chunks"] = estimates.chunks_table(found[0])
        kept["estimates"] = [it.numbers() for it in found]
    sections = {name: f"{content}\n\n{conditions}" for name, content in sections.items()}
    for content in sections.values():
        print(content, end="\n\n")
    install.keep("monitoring", kept)
    install.say(f"took {(time.monotonic() - started) / 60:.0f} minutes")
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "monitoring.md")
    if out:
        tables.write(out, sections, {it: it.capitalize() for it in sections})
        install.say(f"wrote {out}")


def conditions_of(program, peers, note):
    """One line under every table: when and with what it was measured."""
    import machine

    def printed(*command):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    version = printed(program, "--version").splitlines()[0].removeprefix("windlass ")
    commit = install.commit()
    others = ", ".join(f"{name} {it.version}" for name, it in peers.items())
    return (
        f"{datetime.date.today()}. {machine.description()}. Windlass {version} at {commit}, "
        f"{others}. {note}".strip()
    )


if __name__ == "__main__":
    main()
