"""Writes two Parquet files to compare, `reference.parquet` and `current.parquet`, into a folder:

    python wide_tables.py FOLDER ROWS

15 numeric columns and 5 of texts each. In the second `number_00` is greater by 0.2 standard deviations, and a tenth of
`text_00` has another level.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

LEVELS = (3, 8, 20, 50, 200)


def table(rows, seed, drifted):
    random = np.random.default_rng(seed)
    columns = {}
    for at in range(15):
        kind = at % 5
        if kind == 0:
            values = random.normal(10, 2, rows)
        elif kind == 1:
            values = np.round(random.lognormal(3, 1, rows), 2)
        elif kind == 2:
            values = random.poisson(4, rows)
        elif kind == 3:
            # Mostly zero, as amounts often are.
            values = random.exponential(100, rows) * (random.random(rows) < 0.3)
        else:
            values = random.uniform(0, 1, rows)
        if drifted and at == 0:
            values = values + 0.4
        # One of a hundred is missing in every fifth.
        mask = random.random(rows) < 0.01 if kind == 4 else None
        columns[f"number_{at:02}"] = pa.array(values, mask=mask)
    for at, levels in enumerate(LEVELS):
        # Few are common and many are rare.
        weights = 1 / np.arange(1, levels + 1)
        chosen = random.choice(levels, rows, p=weights / weights.sum())
        if drifted and at == 0:
            chosen = np.where(random.random(rows) < 0.1, levels - 1, chosen)
        names = np.array([f"level {it}" for it in range(levels)])
        columns[f"text_{at:02}"] = pa.array(names[chosen])
    return pa.table(columns)


def main():
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    for seed, (name, drifted) in enumerate([("reference", False), ("current", True)]):
        parquet.write_table(table(rows, seed, drifted), folder / f"{name}.parquet")


main()
