"""Simulates rollouts with a known truth and writes the tables of docs/rollouts.md: how often Windlass, thresholds in the
manner of Argo Rollouts and Flagger, and a peeked z-test are right on the same streams, and how soon.

Only cargo is needed. Every draw has a seed; the same numbers come out on every machine.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
import tables  # noqa: E402

WAYS = {
    "windlass 1 %": "Windlass, alpha 1 %",
    "windlass 5 %": "Windlass, alpha 5 %",
    "windlass 1 %, all as control": "alpha 1 %, all of the incumbent's traffic as control",
    "peeked z": "z-test, peeked, 1 %",
    "peeked z, all as control": "the same against all of the incumbent's traffic",
    "argo": "success ≥ 95 %, as Argo's manual",
    "argo, tuned": "success ≥ 98 %, tuned",
    "flagger": "success ≥ 99 %, as Flagger's manual",
}
LATE = {
    "log-loss against the control": "log-loss, candidate against control",
    "AUC against the control": "AUC, candidate against control",
    "paired with the incumbent's shadow answers": "squared error, paired with the incumbent's shadow answers",
    "peeked z of the log-loss": "z-test of the log-loss, peeked",
}


def main():
    arguments = parse()
    started = time.monotonic()
    if arguments.results:
        found = json.loads(arguments.results.read_text())
    else:
        example = arguments.example or install.example("stats", "rollouts")
        found = simulated(example, 50 if arguments.quick else 1_000)
        install.keep("rollouts", found)
    note = f"{datetime.date.today()}. {found['runs']:,} rollouts of a kind."
    sections = {
        "rollouts-sound": sound_table(found["sound"]),
        "rollouts-harm": harm_table(found["harm"]),
        "rollouts-queues": queues_table(found["queues"]),
        "rollouts-late": late_table(found["late"]),
        "rollouts-passing": passing_table(found["passing"]),
        "rollouts-figures": figures_table(found["figures"]),
    }
    sections = {name: f"{content}\n\n{note}" for name, content in sections.items()}
    for content in sections.values():
        print(content, end="\n\n")
    install.say(f"took {time.monotonic() - started:.0f} seconds")
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "rollouts.md")
    if out:
        tables.write(
            out, sections, {it: it.removeprefix("rollouts-").capitalize() for it in sections}
        )
        install.say(f"wrote {out}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="50 rollouts of a kind; prints, writes no file unless --out is given",
    )
    parser.add_argument(
        "--example", type=Path, help="the built example `rollouts` of stats, instead of building it"
    )
    parser.add_argument(
        "--results", type=Path, help="what the example printed, instead of running it"
    )
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/rollouts.md"
    )
    return parser.parse_args()


def simulated(example, runs):
    install.say(f"simulating {runs} rollouts of a kind")
    done = subprocess.run([str(example), str(runs)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def percent(share):
    value = 100 * share
    return f"{value:.1f} %" if value < 99.95 and value > 0 else f"{value:.0f} %"


def counted(share):
    """With its interval, where it is neither none nor nearly all."""
    return f"{percent(share['share'])} ({100 * share['low']:.1f}–{100 * share['high']:.1f})"


def spread(ends, digits=0):
    """The median, and from the tenth part to nine tenths."""
    tenth, half, most = ends
    if half is None:
        return tables.DASH

    def number(value):
        return "never" if value is None else f"{value:,.{digits}f}"

    return f"{number(half)} ({number(tenth)}–{number(most)})"


def sound_table(rows):
    head = ["error rate of both", *WAYS.values()]
    lines = [
        [row["name"], *(percent(row["ways"][it]["rolled_back"]["share"]) for it in WAYS)]
        for row in rows
    ]
    return tables.table(head, lines)


def harm_table(rows):
    head = [
        "errors, incumbent to candidate",
        "way",
        "rolled back",
        "minutes until then: median (10–90 %)",
        "the candidate's requests until then",
    ]
    lines = []
    for row in rows:
        for way, words in WAYS.items():
            told = row["ways"][way]
            back = percent(told["rolled_back"]["share"])
            lines.append(
                [row["name"], words, back, spread(told["minutes"]), spread(told["candidate"])]
            )
    return tables.table(head, lines)


def queues_table(rows):
    head = [
        "callers and runs",
        "the candidate",
        "over the budget: candidate, control",
        "each unit by itself: rolled back",
        "seconds until then: median (10–90 %)",
        "Windlass: rolled back",
        "seconds until then",
    ]
    lines = []
    for row in rows:
        slower = f"takes {100 * (row['slower'] - 1):.0f} % longer"
        if row["from"]:
            slower += f" from second {row['from']} on"
        line = [row["name"], "is the same" if row["slower"] == 1 else slower]
        line.append(" / ".join(percent(it) for it in row["over"]))
        for way in ("alone", "together"):
            told = row[way]
            line += [counted(told["rolled_back"]), spread(told["seconds"])]
        lines.append(line)
    return tables.table(head, lines)


def late_table(rows):
    head = [
        "AUC",
        "way",
        "rolled back",
        "days since the start: median (10–90 %)",
        "the candidate's rows with a label until then",
    ]
    lines = []
    for row in rows:
        for way, words in LATE.items():
            told = row["ways"][way]
            back = percent(told["rolled_back"]["share"])
            lines.append([row["name"], words, back, spread(told["days"], 2), spread(told["rows"])])
    return tables.table(head, lines)


def passing_table(rows):
    head = [
        "margin",
        "passes within six hours where there is no difference",
        "requests until then: median (10–90 %)",
        "passes where it is worse by the margin",
    ]
    lines = [
        [
            f"{100 * row['margin']:.1f} points",
            counted(row["passed"]),
            spread(row["requests"]),
            counted(row["wrongly"]),
        ]
        for row in rows
    ]
    return tables.table(head, lines)


def runs_of(share):
    """Those that are of fewer than the note under the table says."""
    return f" ({share['of']:,} runs)"


REFERENCE_MISSED = {0.001: ".009", 0.01: ".020", 0.1: ".029", 0.5: ".033"}


def figures_table(figures):
    """What the formulas did when they were chosen, and do here."""
    lines = [
        [
            f"a share of {100 * it['share']:g} %: its interval ever misses, 20,000 looks",
            REFERENCE_MISSED[it["share"]],
            counted(it["missed"]),
        ]
        for it in figures["share"]
    ]
    references = {
        (0.01, 0.01, 0.5, 0.0): (".013–.020", None),
        (0.015, 0.01, 0.5, 0.005): (".007–.010", None),
        (0.02, 0.01, 0.5, 0.0): ("5,400 (98 %)", "5,200 (100 %)"),
        (0.05, 0.01, 0.1, 0.0): ("1,600", "4,200"),
        (0.3, 0.01, 0.05, 0.0): ("200", "2,250"),
        (0.03, 0.01, 0.5, 0.005): ("3,400", tables.DASH),
    }
    for it in figures["rates"]:
        key = (it["candidate"], it["control"], it["weight"], it["margin"])
        by_rates, by_means = references[key]
        words = f"{100 * it['control']:g} → {100 * it['candidate']:g} %, {100 * it['weight']:g} % of traffic"
        words += f", margin {100 * it['margin']:g} points" if it["margin"] else ""
        if by_means is None:
            lines.append([f"{words}: fails", by_rates, counted(it["rates"]["failed"])])
            continue
        for name, reference in (("rates", by_rates), ("means", by_means)):
            median = it[name]["requests"][1]
            share = it[name]["failed"]["share"]
            found = f"{median:,.0f} ({percent(share)})" if median else percent(share)
            lines.append([f"{words}: requests until it fails, by {name}", reference, found])
    burn_in = figures["burn_in"]
    for name, words, reference in (
        ("hundred", "means from 100 units on", ".302"),
        ("thousand", "means from 1,000 units on", ".025"),
        ("tails", "means from 20 events and 20 others on, as here", ".000"),
        ("peeked", "a z-test from 100 units on", ".51"),
    ):
        what = f"1 % in both, 10 % of traffic, a look after each request: {words} ever differ"
        what += runs_of(burn_in[name])
        lines.append([what, reference, counted(burn_in[name])])
    for it, reference in zip(figures["assignment"], (".000", ".000", ".69", ".93"), strict=True):
        what = f"assignment meant {100 * it['meant']:g} %, is {100 * it['real']:g} %: alarm by 20,000 units"
        lines.append([what, reference, counted(it["found"])])
    simpson = figures["simpson"]
    for name, words, reference in (
        ("pooled", "all of the incumbent's traffic", "99.7 %, 2.9 points"),
        ("concurrent", "a concurrent control", "3.8 %, 0"),
    ):
        what = f"no difference, ramp 1-5-25-50 while both rise from 5 to 15 %: means against {words} differ"
        what += runs_of(simpson[name])
        bias = 100 * simpson[f"{name}_bias"]
        lines.append([what, reference, f"{counted(simpson[name])}, {abs(bias):.1f} points"])
    return tables.table(["what", "when chosen", "here"], lines)


if __name__ == "__main__":
    main()
