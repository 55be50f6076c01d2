"""Windows of real tables, unchanged and shifted, and who calls drift in them."""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import detectors
import install
import populations
import tables
from detectors import FILES_ALPHA, SERVED_ALPHA

REFERENCE_ROWS = 20_000


@dataclass
class Plan:
    rows: int
    references: int
    groups: int
    """Groups of windows for each reference."""
    asked: dict
    """Peer -> how many of each group it is asked about."""
    group: int = 10
    """Windows that are files at once. A peer that is asked about one of them is asked about the first."""
    peers_references: int | None = None
    """Peers are asked about the windows of so many references; of all without it."""

    def windows(self):
        return self.references * self.groups * self.group

    def of_reference(self, reference):
        """The same with nobody asked beside Windlass, where peers are not asked about this reference."""
        few = self.peers_references
        if few is None or reference < few:
            return self
        return replace(self, asked=dict.fromkeys(self.asked, 0))


# Evidently takes a second or two for a window, most of it for its charts.
FULL = [
    Plan(300, 10, 10, {"nannyml": 10, "evidently": 1}),
    Plan(3_000, 10, 10, {"nannyml": 10, "evidently": 1}),
    Plan(100_000, 10, 5, {"nannyml": 4, "evidently": 1}, group=20),
]
QUICK = [
    Plan(300, 2, 1, {"nannyml": 10, "evidently": 1}),
    Plan(3_000, 2, 1, {"nannyml": 10, "evidently": 1}),
    Plan(100_000, 1, 1, {"nannyml": 2, "evidently": 1}),
]
BRIEF = [
    Plan(300, 10, 2, {"nannyml": 10, "evidently": 1}),
    Plan(3_000, 10, 1, {"nannyml": 10, "evidently": 1}),
    Plan(100_000, 2, 1, {"nannyml": 2, "evidently": 1}),
]
FULL_DETECTION = [
    Plan(rows, 10, 1, {"nannyml": 10, "evidently": 3}) for rows in (300, 3_000, 30_000)
]
BRIEF_DETECTION = [
    Plan(rows, 2, 1, {"nannyml": 5, "evidently": 1}) for rows in (300, 3_000, 30_000)
]
QUICK_DETECTION = [
    Plan(rows, 1, 1, {"nannyml": 3, "evidently": 1}, group=3) for rows in (300, 3_000, 30_000)
]


@dataclass
class Tools:
    windlass: detectors.Windlass
    peers: dict
    folder: Path


@dataclass
class Alarms:
    """What a kind of window led to. Each tool was asked about `asked` and gave an alarm in `alarms`."""

    of: str
    """The table, or the shift."""
    rows: int
    material: bool = True
    asked: Counter = field(default_factory=Counter)
    alarms: Counter = field(default_factory=Counter)
    unsure: int = 0
    """Windows in which Windlass, at 0.05, had too few rows for a column and no drift of any."""
    causes: Counter = field(default_factory=Counter)
    """Windlass's alarms by question, at 0.05."""

    def add(self, tool, drifted):
        self.asked[tool] += 1
        self.alarms[tool] += bool(drifted)

    def counts(self):
        # `dataclasses.asdict` would count the pairs of a counter.
        fields = ((it.name, getattr(self, it.name)) for it in dataclasses.fields(self))
        return {name: dict(it) if isinstance(it, Counter) else it for name, it in fields}


def windlass_names(alpha):
    return f"windlass {alpha:.5f}"


# Where nothing changed.


def false_alarms(tools, plans):
    found = []
    for population in populations.all_of_them():
        for plan in plans:
            alarms = Alarms(population.name, plan.rows)
            install.say(f"unchanged windows: {population.name}, {plan.windows()} of {plan.rows}")
            for reference in range(plan.references):
                here = plan.of_reference(reference)
                of_reference(tools, here, population, reference, None, alarms, both=False)
                install.say(f"  {reference + 1} of {plan.references}: {dict(alarms.alarms)}")
            found.append(alarms)
    return found


def detection(tools, plans):
    found = []
    population = populations.continuous_bank()
    for plan in plans:
        for shift in populations.shifts(population):
            alarms = Alarms(shift.name, plan.rows, shift.material)
            for reference in range(plan.references):
                of_reference(tools, plan, population, reference, shift, alarms, both=True)
            install.say(f"{shift.name}, {plan.rows} rows: {dict(alarms.alarms)}")
            found.append(alarms)
    return found


def of_reference(tools, plan, population, reference, shift, alarms, both):
    """Draws a reference and its windows, and has all tools judge them."""
    path = tools.folder / f"{population.name} {reference}.parquet"
    if not path.exists():
        # It is the same for the next size and shift.
        populations.write(population.sample(REFERENCE_ROWS, 0, reference), path)
    for group in range(plan.groups):
        windows = []
        for at in range(group * plan.group, (group + 1) * plan.group):
            table = population.sample(plan.rows, 1, reference, at)
            if shift:
                random = np.random.default_rng([populations.SEED, 2, reference, at])
                table = shift.plant(table, random)
            window = tools.folder / f"window-{at % plan.group}.parquet"
            populations.write(table, window)
            windows.append(str(window))
        judge(tools, plan, str(path), windows, shift, alarms, both)


def judge(tools, plan, reference, windows, shift, alarms, both):
    wanted = {shift.column} if shift else None

    def ask_windlass():
        answers = []
        for window in windows:
            usual = tools.windlass.ask(reference, window, FILES_ALPHA)
            # What is quiet at an alpha is so at a lesser one: each step of the correction is lower.
            strict = both or usual.drifted
            answers.append(
                (usual, tools.windlass.ask(reference, window, SERVED_ALPHA) if strict else usual)
            )
        return answers

    def ask_peer(name):
        # What a peer says of a column does not depend on the others: it is asked about that one.
        columns = [shift.column] if shift else None
        return [tools.peers[name].ask(reference, it, columns) for it in windows[: plan.asked[name]]]

    own, *others = detectors.beside(
        ask_windlass, *[lambda name=name: ask_peer(name) for name in tools.peers]
    )

    def counted(drifted):
        return drifted & wanted if wanted else drifted

    for usual, strict in own:
        alarms.add(windlass_names(FILES_ALPHA), counted(usual.drifted))
        alarms.add(windlass_names(SERVED_ALPHA), counted(strict.drifted))
        alarms.unsure += bool(counted(usual.unsure)) and not counted(usual.drifted)
        alarms.causes.update(
            {question for name, question in usual.questions if not wanted or name in wanted}
        )
    for name, answers in zip(tools.peers, others):
        for answer in answers:
            alarms.add(name, counted(answer.drifted))


# Tables.

TOOLS = [windlass_names(FILES_ALPHA), windlass_names(SERVED_ALPHA), "evidently", "nannyml"]
HEAD = [
    "Windlass, alpha 0.05",
    "alpha 1/720",
    "Windlass: not enough data",
    "Evidently",
    "NannyML",
]


def false_alarms_table(found):
    rows = []
    for it in found:
        cells = [interval(it.alarms[tool], it.asked[tool]) for tool in TOOLS]
        cells.insert(2, share(it.unsure, it.asked[TOOLS[0]]))
        rows.append([it.of, f"{it.rows:,}", *cells, causes(it)])
    head = ["table", "rows a window", *HEAD, "Windlass's alarms by question"]
    return tables.table(head, rows)


def detection_table(found):
    rows = []
    for it in found:
        cells = [share(it.alarms[tool], it.asked[tool]) for tool in TOOLS]
        cells.insert(2, share(it.unsure, it.asked[TOOLS[0]]))
        name = it.of if it.material else f"*{it.of}*"
        rows.append([name, f"{it.rows:,}", *cells, causes(it)])
    asked = found[0].asked
    note = (
        f"Windows a row: {asked[TOOLS[0]]}, for Evidently {asked['evidently']}, "
        f"for NannyML {asked['nannyml']}. In italics: less than the margin."
    )
    head = ["shift", "rows a window", *HEAD, "Windlass's alarms by question"]
    return tables.table(head, rows) + "\n\n" + note


def causes(alarms):
    parts = [f"{question} {count}" for question, count in alarms.causes.most_common()]
    return ", ".join(parts) or tables.DASH


def share(count, of):
    return f"{100 * count / of:.0f} %"


def interval(count, of):
    """A count and its share with Wilson's interval of 95 %."""
    low, high = wilson(count, of)
    return f"{count} of {of:,} ({100 * low:.1f}–{100 * high:.1f} %)"


def wilson(count, of, z=1.959964):
    middle = (count + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * math.sqrt(count * (of - count) / of + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)
