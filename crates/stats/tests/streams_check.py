"""Compares `examples/streams.rs` with the detectors of the package river on the same streams.

    cargo build -p stats --example streams
    python streams_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy and river 0.26.1. Exits non-zero where a warning or a drift is not at the same index.
"""

import sys

import numpy as np
from river import datasets, drift, naive_bayes, preprocessing
from river.drift import datasets as changes

import example


# What a detector is called by river, and our name of each of its settings.
DETECTORS = {
    "adwin": (
        drift.ADWIN,
        {
            "delta": "delta",
            "clock": "clock",
            "max_buckets": "buckets_max",
            "min_window_length": "window_min",
            "grace_period": "grace",
        },
    ),
    "page_hinkley": (
        drift.PageHinkley,
        {
            "min_instances": "values_min",
            "delta": "delta",
            "threshold": "threshold",
            "alpha": "alpha",
            "mode": "direction",
        },
    ),
    "ddm": (
        drift.binary.DDM,
        {
            "warm_start": "values_min",
            "warning_threshold": "warning",
            "drift_threshold": "drift",
        },
    ),
    "eddm": (
        drift.binary.EDDM,
        {"warm_start": "errors_min", "alpha": "warning", "beta": "drift"},
    ),
    "hddm_a": (
        drift.binary.HDDMA,
        {
            "drift_confidence": "drift",
            "warning_confidence": "warning",
            "two_sided_test": "two_sided",
        },
    ),
    "hddm_w": (
        drift.binary.HDDMW,
        {
            "drift_confidence": "drift",
            "warning_confidence": "warning",
            "lambda_val": "lambda",
            "two_sided_test": "two_sided",
        },
    ),
}

# Of any numbers; empty settings are the usual ones, and so are checked as well.
NUMERIC = [
    ("adwin", {}),
    ("adwin", {"delta": 0.05, "clock": 1}),
    ("adwin", {"delta": 0.3, "clock": 7, "max_buckets": 2, "min_window_length": 1, "grace_period": 1}),
    ("adwin", {"delta": 1e-6, "clock": 1, "max_buckets": 20, "min_window_length": 30, "grace_period": 100}),
    ("page_hinkley", {}),
    ("page_hinkley", {"threshold": 10.0, "mode": "up"}),
    ("page_hinkley", {"threshold": 5.0, "mode": "down", "delta": 0.1, "alpha": 0.99}),
    ("page_hinkley", {"threshold": 20.0, "min_instances": 1, "delta": 0.0, "alpha": 1.0}),
]

# Of values from 0 to 1.
BOUNDED = [
    ("hddm_a", {}),
    ("hddm_a", {"two_sided_test": True}),
    ("hddm_a", {"drift_confidence": 0.05, "warning_confidence": 0.2, "two_sided_test": True}),
    ("hddm_w", {}),
    ("hddm_w", {"two_sided_test": True}),
    ("hddm_w", {"drift_confidence": 0.05, "warning_confidence": 0.2, "lambda_val": 0.01}),
    ("hddm_w", {"drift_confidence": 1e-4, "lambda_val": 0.3, "two_sided_test": True}),
]

# Of bits.
BINARY = [
    ("ddm", {}),
    ("ddm", {"warm_start": 5, "warning_threshold": 1.0, "drift_threshold": 1.5}),
    ("ddm", {"warm_start": 100, "warning_threshold": 0.0}),
    ("eddm", {}),
    ("eddm", {"alpha": 0.8, "beta": 0.75}),
    ("eddm", {"warm_start": 3, "alpha": 0.99, "beta": 0.6}),
]


def numeric_streams(random):
    for jump in [0.2, 1.0, -1.0, 10.0]:
        moved = np.repeat([0.0, jump, 0.0], 1_000)
        yield f"a jump of {jump} and back", random.normal(size=3_000) + moved
    yield "a ramp", random.normal(size=3_000) + np.linspace(0, 2, 3_000)
    yield "a steep ramp without noise", np.linspace(0, 1_000, 1_000)
    yield "a spread that grows", random.normal(size=3_000) * np.linspace(1, 5, 3_000)
    yield "a wave", np.sin(np.arange(5_000) / 200) + random.normal(0, 0.3, 5_000)
    yield "no change, normal", random.normal(size=20_000)
    yield "no change, heavy tails", random.standard_t(2, size=10_000)
    yield "no change, far from zero", random.normal(1e6, 1, size=5_000)
    yield "a jump far from zero", random.normal(1e6, 1, 2_000) + np.repeat([0, 1], 1_000)
    yield "tiny", random.normal(0, 1e-9, 2_000) + np.repeat([0, 1e-8], 1_000)
    yield "a constant", np.full(2_000, 0.1)
    yield "one value", np.array([3.0])
    # These come with river; nothing is downloaded.
    for kind in [changes.Apple, changes.Bitcoin, changes.BrentSpotPrice, changes.Occupancy]:
        yield from columns(kind)
    for kind in [changes.AirlinePassengers, changes.RunLog, changes.UKCoalEmploy]:
        yield from columns(kind)
    for kind in [datasets.AirlinePassengers, datasets.TrumpApproval, datasets.WaterFlow]:
        yield from columns(kind)


def columns(kind):
    truths = [y if isinstance(y, dict) else {"y": y} for _, y in kind()]
    for name in truths[0]:
        yield f"{kind.__name__}'s {name}", np.array([float(it[name]) for it in truths])


def bounded_streams(random):
    yield "uniform", random.random(5_000)
    yield "a mean that jumps", np.concatenate([random.beta(2, 8, 1_500), random.beta(4, 6, 1_500)])
    yield "a mean that falls", np.concatenate([random.beta(5, 5, 1_500), random.beta(2, 8, 1_500)])


def binary_streams(random):
    for before, after in [(0.1, 0.3), (0.01, 0.05), (0.5, 0.6), (0.2, 0.8), (0.4, 0.1), (0.0, 0.1)]:
        rates = np.repeat([before, after, before], 2_000)
        yield f"errors from {before} to {after} and back", random.random(6_000) < rates
    for rate in [0.001, 0.1, 0.5, 0.9]:
        yield f"errors at {rate}", random.random(20_000) < rate
    yield "errors that slowly grow", random.random(10_000) < np.linspace(0.05, 0.5, 10_000)
    yield "no error", np.zeros(3_000, dtype=bool)
    yield "all errors", np.ones(3_000, dtype=bool)
    yield "every seventh", np.arange(5_000) % 7 == 6
    yield "one error", np.arange(2_000) == 1_500
    for kind in [datasets.Phishing, datasets.Bananas, datasets.ImageSegments]:
        yield f"errors of a model on {kind.__name__}", np.array(list(model_errors(kind())))


def model_errors(rows):
    """Each row is first asked about and then learnt."""
    model = preprocessing.StandardScaler() | naive_bayes.GaussianNB()
    for x, y in rows:
        yield model.predict_one(x) != y
        model.learn_one(x, y)


def cases(random):
    for name, values in numeric_streams(random):
        yield from ((name, values.astype(float), *it) for it in NUMERIC)
    for name, values in bounded_streams(random):
        yield from ((name, values, *it) for it in NUMERIC + BOUNDED)
    for name, values in binary_streams(random):
        yield from ((name, values.astype(float), *it) for it in NUMERIC + BOUNDED + BINARY)


def of_river(detector, settings, values):
    detector = DETECTORS[detector][0](**settings)
    warnings, drifts = [], []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            drifts.append(index)
        elif getattr(detector, "warning_detected", False):
            warnings.append(index)
    return {"warnings": warnings, "drifts": drifts}


def main():
    lines, wants, titles = [], [], []
    for name, values, detector, settings in cases(np.random.default_rng(20260801)):
        values = values.tolist()
        names = DETECTORS[detector][1]
        named = {names[key]: value for key, value in settings.items()}
        lines.append({"detector": detector, "settings": named, "values": values})
        wants.append(of_river(detector, settings, values))
        titles.append(f"{detector} {settings} on {name}")
    failures = []
    gots = example.answers(lines)
    if len(gots) != len(wants):
        sys.exit(f"{len(gots)} answers to {len(wants)} streams")
    for title, want, got in zip(titles, wants, gots):
        for kind in ["warnings", "drifts"]:
            if got[kind] != want[kind]:
                apart = sorted(set(got[kind]) ^ set(want[kind]))[:10]
                failures.append(f"{title}: {kind} differ first at {apart}")
    for detector in DETECTORS:
        of = [want for want, line in zip(wants, lines) if line["detector"] == detector]
        counts = [sum(len(it[kind]) for it in of) for kind in ["drifts", "warnings"]]
        print(f"{detector}: {counts[0]} drifts and {counts[1]} warnings on {len(of)} streams")
        if counts[0] == 0:
            failures.append(f"{detector}: nothing to compare")
    if failures:
        sys.exit("\n".join(failures))
    print("every index is river's")


main()
