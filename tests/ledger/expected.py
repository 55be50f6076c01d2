"""What scikit-learn says of the answers that a caller got, in the words of the ledger's quality."""

import math
import warnings

import numpy
from sklearn import metrics

RELATIVE = 1e-9


def binary(rows):
    """Metrics of rows `(class, score, truth)` about the class `bad`, as far as they are defined."""
    classes, scores, truths = zip(*rows, strict=True)
    truth = numpy.array([it == "bad" for it in truths], dtype=int)
    said = numpy.array([it == "bad" for it in classes], dtype=int)
    score = numpy.array(scores, dtype=numpy.float64)
    want = {"accuracy": metrics.accuracy_score(truth, said)}
    if said.any():
        want["precision"] = metrics.precision_score(truth, said)
    if truth.any():
        want["recall"] = metrics.recall_score(truth, said)
        want["average_precision"] = metrics.average_precision_score(truth, score)
    if truth.any() or said.any():
        want["f1"] = metrics.f1_score(truth, said)
    if 0 < truth.sum() < len(truth):
        want["roc_auc"] = metrics.roc_auc_score(truth, score)
    want["log_loss"] = metrics.log_loss(truth, score, labels=[0, 1])
    want["brier"] = float(numpy.mean((score - truth) ** 2))
    if "roc_auc" in want:
        assert math.isclose(want["brier"], metrics.brier_score_loss(truth, score), rel_tol=1e-12)
    return want


def confusion(rows):
    """Rows by truth and answer."""
    names = ["bad", "good"]
    counts = {truth: {said: 0 for said in names} for truth in names}
    for said, _, truth in rows:
        counts[truth][said] += 1
    return counts


def multiclass(classes, scores, truths):
    """Metrics of several classes; `scores` has a column for each."""
    truth = numpy.array([classes.index(it) for it in truths])
    scores = numpy.array(scores, dtype=numpy.float64)
    said = scores.argmax(axis=1)
    labels = list(range(len(classes)))
    kept = {"labels": labels, "zero_division": 0}
    with warnings.catch_warnings():
        # Scores of single precision do not add up to 1 to the last digit, and are not to.
        warnings.simplefilter("ignore")
        return {
            "accuracy": metrics.accuracy_score(truth, said),
            "macro_precision": metrics.precision_score(truth, said, average="macro", **kept),
            "macro_recall": metrics.recall_score(truth, said, average="macro", **kept),
            "macro_f1": metrics.f1_score(truth, said, average="macro", **kept),
            "weighted_f1": metrics.f1_score(truth, said, average="weighted", **kept),
            "roc_auc_ovr": float(
                numpy.mean([metrics.roc_auc_score(truth == it, scores[:, it]) for it in labels])
            ),
        }


def regression(values, truths):
    value, truth = numpy.array(values), numpy.array(truths)
    return {
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
        "mape": metrics.mean_absolute_percentage_error(truth, value),
        "r2": metrics.r2_score(truth, value),
        "bias": float(numpy.mean(value - truth)),
    }


def check(got, want, about):
    """That metrics are those wanted, to 1e-9 of themselves, and lie in their intervals."""
    for name, value in want.items():
        metric = got[name]
        assert math.isclose(metric["value"], value, rel_tol=RELATIVE, abs_tol=1e-15), (
            f"{about}: {name} is {metric['value']}, scikit-learn has {value}"
        )
        if "low" in metric:
            assert metric["low"] <= metric["value"] <= metric["high"], (about, name, metric)
