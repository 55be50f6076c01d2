"""Real tables to draw windows from, and shifts to plant in them.

Rows are drawn with replacement: a table is the whole population, so a window may be larger than it, and windows of one
table differ by chance alone.
"""

import gzip
import io
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

SEED = 20261125


@dataclass
class Population:
    """A table of which windows are samples."""

    name: str
    table: pa.Table

    def sample(self, rows, *key):
        """The same rows for the same key, to every tool and in every run."""
        random = np.random.default_rng([SEED, *self.name.encode(), rows, *key])
        return self.table.take(pa.array(random.integers(0, self.table.num_rows, rows)))


def all_of_them():
    return [bank(), census(), credit()]


def bank():
    """Calls of a Portuguese bank: UCI's Bank Marketing, in the package empulse."""
    # The outcome is no input.
    return population("bank", empulse("bankmarketing", sep=";").drop(columns="y"))


def census():
    """People in Massachusetts in 2015, from the US census, in the package nannyml."""
    import nannyml

    frame, _, _ = nannyml.load_us_census_ma_employment_data()
    outcome = ["id", "employed", "year", "prediction", "predicted_probability"]
    return population("census", frame.drop(columns=outcome))


def credit():
    """Borrowers: Kaggle's Give Me Some Credit, in the package empulse."""
    return population("credit", empulse("creditscoring1").drop(columns=["id", "SeriousDlqin2yrs"]))


def empulse(name, **more):
    file = resources.files("empulse") / "datasets" / "data" / f"{name}.csv.gz"
    return pd.read_csv(io.BytesIO(gzip.decompress(file.read_bytes())), **more)


def population(name, frame):
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].astype(object)
    return Population(name, pa.Table.from_pandas(frame, preserve_index=False))


def write(table, path):
    parquet.write_table(table, path, compression="snappy")


# Shifts.

NUMBER, LEVEL = "age", "job"


def continuous_bank():
    """The bank's table with a fraction of a year added to each age, since a shift by less than a year would else tell
    the whole years of the reference from what is between them, at any size."""
    whole = bank()
    random = np.random.default_rng([SEED, 1])
    age = numbers(whole.table, NUMBER) + random.random(whole.table.num_rows)
    return Population("bank with ages in fractions", replaced(whole.table, NUMBER, age))


@dataclass
class Shift:
    name: str
    column: str
    plant: object
    """What makes a window of one that is as the reference: (table, random) -> table."""
    material: bool = True
    """Whether it is beyond Windlass's margin."""


def shifts(population):
    age = numbers(population.table, NUMBER)
    mean, deviation = age.mean(), age.std()
    scaled = lambda it: mean + (it - mean) * 1.5**0.5  # noqa: E731
    return [
        Shift("nothing, `age`", NUMBER, lambda table, random: table, material=False),
        Shift("nothing, `job`", LEVEL, lambda table, random: table, material=False),
        *(moved(by, by * deviation) for by in (0.02, 0.05, 0.1, 0.2, 0.5)),
        Shift(
            "variance of `age` × 1.5",
            NUMBER,
            lambda table, random: replaced(table, NUMBER, scaled(numbers(table, NUMBER))),
        ),
        *(missing(share) for share in (0.01, 0.05)),
        *(share_moved(population, points) for points in (2, 5, 10)),
        Shift(
            "1 % of `job` a new level",
            LEVEL,
            lambda table, random: relabelled(table, random, None, 0.01, "pilot"),
        ),
    ]


def moved(by, years):
    def plant(table, random):
        return replaced(table, NUMBER, numbers(table, NUMBER) + years)

    return Shift(f"`age` + {by} sd", NUMBER, plant, material=by >= 0.1)


def missing(share):
    def plant(table, random):
        gone = random.random(table.num_rows) < share
        return replaced(table, NUMBER, numbers(table, NUMBER), mask=gone)

    return Shift(f"{share:.0%} of `age` missing".replace("%", " %"), NUMBER, plant)


def share_moved(population, points):
    """From the commonest job to the second."""
    counts = pd.Series(population.table[LEVEL].to_numpy(zero_copy_only=False)).value_counts(
        normalize=True
    )
    (source, share), target = next(iter(counts.items())), counts.index[1]

    def plant(table, random):
        return relabelled(table, random, source, points / 100 / share, target)

    # Two points are a Cramér's V of 0.03 here, and its margin is 0.05.
    name = f"`job`: {points} points from {source} to {target}"
    return Shift(name, LEVEL, plant, material=points > 2)


def relabelled(table, random, source, share, target):
    values = table[LEVEL].to_numpy(zero_copy_only=False).copy()
    chosen = random.random(len(values)) < share
    if source is not None:
        chosen &= values == source
    values[chosen] = target
    return replaced(table, LEVEL, values)


def numbers(table, column):
    return table[column].to_numpy(zero_copy_only=False).astype(float)


def replaced(table, column, values, mask=None):
    at = table.schema.get_field_index(column)
    return table.set_column(at, column, pa.array(values, mask=mask))
