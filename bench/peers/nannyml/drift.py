"""NannyML's univariate drift as it comes (Jensen-Shannon, three standard deviations): which columns does it alarm for?

Each line of standard input is `{"reference": FILE, "current": FILE, "columns": [NAME] or null}`, answered by a line
`{"drifted": [NAME]}`. `--once REFERENCE CURRENT` answers one question and ends.

A file is one chunk. Its thresholds come from chunks of the reference, of as many rows as the file has if the reference
has ten of those; else it is cut into ten, which is NannyML's default.
"""

import json
import os
import sys
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd
from nannyml.chunk import CountBasedChunker

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


def main():
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps({"drifted": drifted(*sys.argv[2:4], None)}))
        return
    for line in sys.stdin:
        question = json.loads(line)
        found = drifted(question["reference"], question["current"], question["columns"])
        print(json.dumps({"drifted": found}), flush=True)


main()
