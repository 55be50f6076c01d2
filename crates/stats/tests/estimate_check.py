"""Compares `examples/estimate.rs` with scikit-learn and NannyML on the same rows.

    cargo build -p stats --example estimate
    python estimate_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, scikit-learn, pandas older than 3 and nannyml 0.13.1 (with the car loan data that it brings).
Exits non-zero with a list of what differs by more than 1e-9.

Three differences are meant. NannyML rounds running sums to five decimals before `roc_auc` and
`average_precision`, so where they are compared with what it prints, 1e-7 is allowed; its formulas without the
rounding are compared to 1e-9. It ranks tied scores by chance for the sampling error of `roc_auc`, so that is
compared to 1e-9 on scores without ties, and to 2 % on the car loan data, whose scores have two decimals. Its
decision to calibrate rests on random draws, so the cases here are clear ones.
"""

import os
import sys
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import numpy as np
import pandas as pd
from nannyml.calibration import IsotonicCalibrator, needs_calibration
from nannyml.performance_estimation.confidence_based import metrics
from nannyml.sampling_error import binary_classification as errors
from sklearn.isotonic import IsotonicRegression

import example

TOLERANCE = 1e-9
ROUNDED = 1e-7
NAMES = ["accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "average_precision"]
failures = []
compared = 0


def run(head, rows):
    (answer,) = example.answers([head, *rows])
    return answer


def lines(**columns):
    lists = [np.asarray(column).tolist() for column in columns.values()]
    return [dict(zip(columns, row)) for row in zip(*lists)]


def check(case, name, got, want, tolerance=TOLERANCE):
    global compared
    compared += 1
    if got is None or abs(got - want) > tolerance:
        failures.append(f"{case}: {name} is {got}, wanted {want}")


def check_isotonic(case, x, y, places):
    got = run({"kind": "isotonic"}, lines(x=x, y=y) + lines(x=places))
    wanted = IsotonicRegression(out_of_bounds="clip", increasing=True).fit(x, y).predict(places)
    for place, value, want in zip(places, got, wanted, strict=True):
        check(case, f"the value at {place}", value, want)


def isotonic(random):
    def places(x):
        far = [x.min() - 1, x.max() + 1]
        return np.concatenate([x, (x[1:] + x[:-1]) / 2, random.uniform(*far, 200), far])

    for count in [1, 2, 3, 10, 1_000, 5_000]:
        x = random.random(count)
        for name, y in [
            ("labels", (random.random(count) < x).astype(float)),
            ("labels against the order", (random.random(count) > x).astype(float)),
            ("values", x + random.normal(0, 0.3, count)),
            ("values that rise", np.sort(x)),
            ("one value", np.full(count, 0.1)),
        ]:
            check_isotonic(f"{name}, {count} points", x, y, places(x))
            tied = np.round(x, 1)
            check_isotonic(f"{name}, {count} points with ties", tied, y, places(tied))
    x = 1e6 * random.normal(size=2_000)
    check_isotonic("large places", x, np.sin(x / 1e6) + random.normal(size=2_000), places(x))
    close = np.repeat(0.5 + 3e-16 * np.arange(50), 3)
    check_isotonic("places closer than the resolution", close, random.random(150), places(close))


def cbpe(reference, chunks):
    rows = lines(score=reference[0], predicted=reference[1], truth=reference[2])
    for index, (score, predicted) in enumerate(chunks):
        rows += lines(score=score, predicted=predicted, chunk=np.full(len(score), index))
    return run({"kind": "cbpe"}, rows)


def unrounded(calibrated, score):
    """NannyML's two curves without the rounding: both are sums over the rows by falling score."""
    order = np.argsort(-score, kind="stable")
    positive = calibrated[order]
    seen = np.cumsum(positive)
    area = ((1 - positive) * (seen - positive / 2)).sum() / (positive.sum() * (1 - positive).sum())
    precision = (positive * seen / np.arange(1, len(seen) + 1)).sum() / positive.sum()
    return area, precision


def car_loan():
    reference, analysis, _ = nannyml.load_synthetic_car_loan_dataset()
    estimator = nannyml.CBPE(
        y_pred_proba="y_pred_proba",
        y_pred="y_pred",
        y_true="repaid",
        metrics=NAMES,
        chunk_size=5000,
        problem_type="classification_binary",
    ).fit(reference)
    wanted = estimator.estimate(analysis).filter(period="analysis").to_df()

    def columns(frame):
        return frame["y_pred_proba"].to_numpy(), frame["y_pred"].to_numpy()

    chunks = [columns(analysis.iloc[at : at + 5000]) for at in range(0, len(analysis), 5000)]
    truth = reference["repaid"].to_numpy().astype(int)
    got = cbpe((*columns(reference), truth), chunks)
    if got["calibrated"] != estimator.needs_calibration:
        failures.append(f"car loan: calibrated is {got['calibrated']}")
    for index, chunk in enumerate(got["chunks"]):
        case = f"car loan, chunk {index}"
        for name in NAMES:
            tolerance = ROUNDED if name in ["roc_auc", "average_precision"] else TOLERANCE
            want = wanted[(name, "value")].iloc[index]
            check(case, name, chunk["estimated"][name], want, tolerance)
            if name != "average_precision":
                want = wanted[(name, "sampling_error")].iloc[index]
                tolerance = 0.02 * want if name == "roc_auc" else TOLERANCE
                check(case, f"error of {name}", chunk["errors"][name], want, tolerance)
        score = chunks[index][0]
        check_curves(case, chunk["estimated"], estimator.calibrator.calibrate(score), score)
    at = got["chunks"][0]["errors"]["roc_auc"], wanted[("roc_auc", "sampling_error")].iloc[0]
    print(f"car loan: the error of roc_auc is {at[0]:.6f}, NannyML has {at[1]:.6f}")


def check_curves(case, estimated, calibrated, score):
    area, precision = unrounded(calibrated, score)
    check(case, "roc_auc without rounding", estimated["roc_auc"], area)
    check(case, "average_precision without rounding", estimated["average_precision"], precision)


def check_synthetic(case, rows, digits, probabilities, distort):
    def draw(count):
        probability = probabilities(count)
        truth = (random.random(count) < probability).astype(int)
        score = np.round(distort(probability), digits)
        # NannyML loses a lowest row that is positive.
        score[0], truth[0] = 0, 0
        return score, (score > 0.5).astype(int), truth

    score, predicted, truth = draw(rows)
    chunk_score, chunk_predicted, _ = draw(rows)
    got = cbpe((score, predicted, truth), [(chunk_score, chunk_predicted)])
    calibrator = IsotonicCalibrator()
    wanted = needs_calibration(truth, score, calibrator)
    if got["calibrated"] != wanted:
        failures.append(f"{case}: calibrated is {got['calibrated']}, NannyML has {wanted}")
        return
    calibrated = chunk_score
    if wanted:
        calibrator.fit(score, truth)
        calibrated = calibrator.calibrate(chunk_score)
    chunk = got["chunks"][0]
    for name in ["accuracy", "precision", "recall", "specificity", "f1"]:
        want = getattr(metrics, f"estimate_{name}")(chunk_predicted, calibrated)
        check(case, name, chunk["estimated"][name], want)
        components = getattr(errors, f"{name}_sampling_error_components")
        components = components(pd.Series(truth), pd.Series(predicted))
        want = getattr(errors, f"{name}_sampling_error")(components, chunk_score)
        check(case, f"error of {name}", chunk["errors"][name], want)
    # The running sums of few rows feel the rounding.
    tolerance = max(ROUNDED, 1e-4 / rows)
    want = metrics.estimate_roc_auc(calibrated, chunk_score)
    check(case, "roc_auc", chunk["estimated"]["roc_auc"], want, tolerance)
    want = metrics.estimate_ap(calibrated, chunk_score)
    check(case, "average_precision", chunk["estimated"]["average_precision"], want, tolerance)
    check_curves(case, chunk["estimated"], calibrated, chunk_score)
    if digits > 10:
        components = errors.auroc_sampling_error_components(pd.Series(truth), pd.Series(score))
        want = errors.auroc_sampling_error(components, chunk_score)
        check(case, "error of roc_auc", chunk["errors"]["roc_auc"], want)


warnings.filterwarnings("ignore")
isotonic(np.random.default_rng(20260729))
car_loan()
random = np.random.default_rng(20260730)
for rows in [1_000, 5_000, 40_000]:
    for digits in [16, 2]:
        for name, distort in [
            ("too sure", lambda it: it**3 / (it**3 + (1 - it) ** 3)),
            ("squared", lambda it: it**2),
            ("rarely negative", lambda it: 0.4 + 0.6 * it),
        ]:
            case = f"{name}, {rows} rows, {digits} digits"
            check_synthetic(case, rows, digits, lambda it: random.beta(1.2, 2.5, it), distort)
        # Too good to be calibrated.
        clear = lambda it: np.abs((random.random(it) < 0.6) - random.uniform(0, 1e-4, it))
        check_synthetic(f"clear, {rows} rows, {digits} digits", rows, digits, clear, np.sqrt)
if failures:
    sys.exit("\n".join(failures))
print(f"{compared} numbers agree")
