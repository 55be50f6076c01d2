"""NannyML's univariate drift as it comes (Jensen-Shannon, three standard deviations): which columns does it alarm for?

`questions.py` says how it is asked.

A file is one chunk. Its thresholds come from chunks of the reference, of as many rows as the file has if the reference
has ten of those; else it is cut into ten, which is NannyML's default.
"""

import os
import sys
import warnings
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd
from nannyml.chunk import CountBasedChunker

sys.path.append(str(Path(__file__).resolve().parent.parent))

from questions import answer  # noqa: E402

warnings.filterwarnings("ignore")
fitted = {}


def calculator(reference, columns, rows):
    key = reference, rows, tuple(columns or ())
    if key not in fitted:
        # Those of before are not asked about again.
        for it in [it for it in fitted if it[0] != reference]:
            del fitted[it]
        frame = pd.read_parquet(reference)
        size = min(rows, len(frame) // 10)
        names = columns or list(frame)
        made = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=size).fit(frame)
        # What is asked about is one chunk, however the reference was cut.
        made.chunker = CountBasedChunker(1)
        fitted[key] = made
    return fitted[key]


def drifted(reference, current, columns):
    frame = pd.read_parquet(current)
    result = calculator(reference, columns, len(frame)).calculate(frame)
    alerts = result.filter(period="analysis").to_df()
    return sorted({it[0] for it in alerts.columns if it[-1] == "alert" and alerts[it].any()})


answer(drifted)
