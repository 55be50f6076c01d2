"""Evidently's preset for drift as it comes: which columns does it call drifted?

`questions.py` says how it is asked.
"""

import sys
import warnings
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import DriftedColumnsCount
from evidently.presets import DataDriftPreset

sys.path.append(str(Path(__file__).resolve().parent.parent))

from questions import answer  # noqa: E402

warnings.filterwarnings("ignore")
references = {}


def dataset(path):
    frame = pd.read_parquet(path)
    numeric = [it for it in frame if pd.api.types.is_numeric_dtype(frame[it])]
    rest = [it for it in frame if it not in numeric]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=rest)
    return Dataset.from_pandas(frame, data_definition=definition)


def drifted(reference, current, columns):
    if reference not in references:
        # Those of before are not asked about again.
        references.clear()
        references[reference] = dataset(reference)
    report = Report([DataDriftPreset(columns=columns)])
    metrics = report.run(dataset(current), references[reference]).dict()["metrics"]
    names, count = [], None
    for metric in metrics:
        config, value = metric["config"], metric["value"]
        if config["type"].endswith("DriftedColumnsCount"):
            count = value["count"]
        elif is_drift(config, float(value)):
            names.append(config["column"])
    # Its own count of them, which also says that the thresholds are understood.
    if count != len(names):
        sys.exit(f"{DriftedColumnsCount.__name__} is {count}, but the columns are {names}")
    return names


def is_drift(config, value):
    """Distances drift upwards, probabilities downwards."""
    if "p_value" in config["method"]:
        return value < config["threshold"]
    return value >= config["threshold"]


answer(drifted)
