"""What was measured, as tables; and the file that has them between markers."""

import statistics
from dataclasses import dataclass, field

DASH = "—"
CONNECTIONS = (64, 16, 1)


@dataclass
class Row:
    """One server on one model."""

    server: str
    note: str
    version: str = ""
    rounds: dict = field(default_factory=dict)
    """Connections -> its rounds."""
    asked: int = 0
    wrong: int = 0
    """Of `asked` answers, compared with the engine in this process."""
    memory_mib: float = 0.0
    processes: int = 0
    start_s: float = 0.0
    stray: float = 0.0
    steal: float = 0.0

    def rate(self, connections):
        return statistics.median(it.rate for it in self.rounds[connections])

    def p50_s(self, connections):
        return statistics.median(it.p50_s for it in self.rounds[connections])

    def p99_s(self, connections):
        return statistics.median(it.p99_s for it in self.rounds[connections])

    def errors(self):
        return sum(it.errors for rounds in self.rounds.values() for it in rounds)


@dataclass
class Measured:
    """One model: its servers, the engine alone, and what could not be measured."""

    work: object
    rows: list = field(default_factory=list)
    failed: dict = field(default_factory=dict)
    """Server -> why."""
    engine: dict = field(default_factory=dict)
    """What `engine.py` printed."""

    def row(self, server):
        return next((it for it in self.rows if it.server == server), None)

    def engine_best(self):
        return max(self.engine["rates"].values())

    def limit(self, server, connections):
        """The combined limit of a server: a request costs what L1 and L2 cost."""
        http = self.row("L1 binary" if server.endswith("binary") else "L1")
        return 1 / (1 / http.rate(connections) + 1 / self.engine_best()) if http else None


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def milliseconds(seconds):
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(it) + " |" for it in lines)


HEAD = [
    "server",
    "req/s, 64 connections (min–max)",
    "16",
    "1",
    "p50 / p99 ms, 1 connection",
    "16",
    "64",
    "errors",
    "RSS MiB (processes)",
    "first answer s",
    "× FastAPI",
    "of the combined limit",
    "stray CPU",
]


def servers(measured, conditions):
    """The table of one model."""
    fastapi = measured.row("FastAPI")
    rows = [
        server(measured, it, fastapi) for it in sorted(measured.rows, key=lambda it: -it.rate(64))
    ]
    parts = [table(HEAD, rows)]
    if measured.failed:
        parts.append(
            "Not measured: "
            + "; ".join(f"{name} ({why})" for name, why in measured.failed.items())
            + "."
        )
    rates = ", ".join(
        f"{setting} {number(rate)}/s" for setting, rate in measured.engine["rates"].items()
    )
    limit = measured.limit("", 64)
    combined = f" Combined limit at 64 connections: {number(limit)}/s." if limit else ""
    parts.append(f"Engine alone (L2): {rates}.{combined}")
    parts.append(conditions)
    return "\n\n".join(parts)


def server(measured, row, fastapi):
    rates = [it.rate for it in row.rounds[64]]
    errors = number_of_errors(row)
    sound = not row.wrong and not row.errors()
    limit = None if row.server.startswith("L1") else measured.limit(row.server, 64)
    return [
        f"{row.server} ({', '.join(filter(None, [row.version, row.note]))})",
        f"{number(row.rate(64))} ({number(min(rates))}–{number(max(rates))})",
        number(row.rate(16)),
        number(row.rate(1)),
        *(f"{milliseconds(row.p50_s(it))} / {milliseconds(row.p99_s(it))}" for it in (1, 16, 64)),
        errors,
        f"{row.memory_mib:.0f} ({row.processes})",
        f"{row.start_s:.2f}",
        f"{row.rate(64) / fastapi.rate(64):.2f}" if fastapi and sound else DASH,
        f"{row.rate(64) / limit:.1%}" if limit and sound else DASH,
        f"{row.stray:.0%}",
    ]


def number_of_errors(row):
    """Errors while measured, and wrong answers before: those make the rest of the row worthless."""
    return f"{row.errors():,}" + (
        f", **{row.wrong} of {row.asked} answers wrong**" if row.wrong else ""
    )


# Aims.


def aims(results, conditions):
    """Windlass against what it holds itself to. `results`: work's name -> Measured."""
    lines = [
        *tabular_aims(results.get("tabular")),
        *minilm_aims(results.get("minilm")),
        *image_aims(results.get("image")),
        *small_aims(results.get("tabular")),
    ]
    return table(["aim", "measured", ""], lines) + "\n\n" + conditions


def aim(text, measured, met):
    return [text, measured, "met" if met else "**missed**"]


def unmeasured(*texts):
    return [[it, "not measured", DASH] for it in texts]


def tabular_aims(measured):
    text = "tabular, JSON, 64 connections: at least 70 % of the combined limit"
    row = measured and measured.row("Windlass")
    if not row:
        return unmeasured(text)
    limit = measured.limit("Windlass", 64)
    share = row.rate(64) / limit
    return [aim(text, f"{share:.1%}: {number(row.rate(64))} of {number(limit)}/s", share >= 0.7)]


def minilm_aims(measured):
    grouped = "MiniLM, 64 connections: at least 97 % of the engine in fours of similar length"
    single = "MiniLM, 64 connections: never below the engine one by one"
    row = measured and measured.row("Windlass")
    if not row:
        return unmeasured(grouped, single)
    rates = measured.engine["rates"]
    found = []
    for text, setting, wanted in ((grouped, "batch 4 by length", 0.97), (single, "batch 1", 1.0)):
        share = row.rate(64) / rates[setting]
        found.append(
            aim(
                text,
                f"{share:.1%}: {number(row.rate(64))} of {number(rates[setting])}/s",
                share >= wanted,
            )
        )
    return found


def image_aims(measured):
    text = "image as JSON: parsing costs at most 15 % of the compute"
    json, binary = (measured and measured.row(it) for it in ("Windlass", "Windlass binary"))
    if not (json and binary):
        return unmeasured(text)
    # What a request costs more as JSON than as a binary tensor, on a server that has one busy core.
    extra_s = 1 / json.rate(64) - 1 / binary.rate(64)
    compute_s = 1 / measured.engine_best()
    cost = extra_s / compute_s
    return [
        aim(text, f"{cost:.1%}: {extra_s * 1000:.2f} of {compute_s * 1000:.1f} ms", cost <= 0.15)
    ]


def small_aims(measured):
    latency = "tabular, 1 connection: {} added to L1 and L2: at most {} µs"
    start = "start to first answer, tabular: at most 100 ms"
    memory = "memory, idle after the first answer, tabular: at most 45 MiB"
    p50, p99 = latency.format("p50", 40), latency.format("p99", 150)
    row, http = (measured and measured.row(it) for it in ("Windlass", "L1"))
    if not (row and http):
        return unmeasured(p50, p99, start, memory)
    engine = measured.engine
    found = []
    for text, whole, bare, alone, wanted in (
        (p50, row.p50_s(1), http.p50_s(1), engine["single_p50_s"], 40),
        (p99, row.p99_s(1), http.p99_s(1), engine["single_p99_s"], 150),
    ):
        added = (whole - bare - alone) * 1e6
        parts = f"{added:.0f} µs: {whole * 1e6:.0f} less {bare * 1e6:.0f} and {alone * 1e6:.0f}"
        found.append(aim(text, parts, added <= wanted))
    found.append(aim(start, f"{row.start_s * 1000:.0f} ms", row.start_s <= 0.1))
    found.append(aim(memory, f"{row.memory_mib:.0f} MiB", row.memory_mib <= 45))
    return found


# The file.


def write(path, sections, titles):
    """Puts each section between its markers; a section that the file lacks is added at its end."""
    text = path.read_text() if path.exists() else "# Benchmarks\n"
    for name, content in sections.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        if begin in text and end in text:
            before, rest = text.split(begin, 1)
            text = f"{before}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"
        else:
            text = f"{text.rstrip()}\n\n## {titles[name]}\n\n{begin}\n{content}\n{end}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
