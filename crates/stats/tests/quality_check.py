"""Compares `examples/quality.rs` with scikit-learn on the same rows, and its intervals with known truths.

    cargo build -p stats --example quality
    python quality_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy and scikit-learn 1.7 or newer. Exits non-zero where a metric differs by more than 1e-9 of itself, or where an interval of 95 % covers the truth less than 90 times in 100.
"""

import sys
import warnings

import numpy as np
from sklearn import metrics

import example

TOLERANCE = 1e-9
failures = []


def report(kind, rows, classes=2):
    head = {"kind": kind, "classes": classes, "level": 0.95}
    (answer,) = example.answers([head, *rows])
    return answer


def check(case, name, got, want):
    if isinstance(got, dict):
        low, high, got = got["low"], got["high"], got["value"]
        if (low is None) != (high is None) or (low is not None and not low <= got <= high):
            failures.append(f"{case}: {name} is {got}, outside its interval {low} to {high}")
    if got is None or want is None:
        right = got is want
    else:
        right = abs(got - want) <= TOLERANCE * abs(want) + 1e-15
    if not right:
        failures.append(f"{case}: {name} is {got}, scikit-learn has {want}")


def calibration_error(confidence, hit):
    index = np.minimum((confidence * 10).astype(int), 9)
    total = 0.0
    for bin in range(10):
        of_bin = index == bin
        if of_bin.any():
            gap = abs(confidence[of_bin].mean() - hit[of_bin].mean())
            total += of_bin.mean() * gap
    return total


def binary_rows(score, predicted, truth):
    lines = zip(score.tolist(), predicted.tolist(), truth.tolist())
    return [{"score": s, "predicted": p, "truth": t} for s, p, t in lines]


def check_binary(case, score, truth, threshold=0.5):
    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth).astype(int)
    predicted = (score > threshold).astype(int)
    got = report("binary", binary_rows(score, predicted, truth))
    kept = {"zero_division": 0}
    check(case, "rows", got["rows"], len(truth))
    check(case, "accuracy", got["accuracy"], metrics.accuracy_score(truth, predicted))
    check(case, "precision", got["precision"], metrics.precision_score(truth, predicted, **kept))
    check(case, "recall", got["recall"], metrics.recall_score(truth, predicted, **kept))
    check(case, "f1", got["f1"], metrics.f1_score(truth, predicted, **kept))
    both = 0 < truth.sum() < len(truth)
    auc = metrics.roc_auc_score(truth, score) if both else None
    check(case, "roc_auc", got["roc_auc"], auc)
    precision = metrics.average_precision_score(truth, score) if truth.any() else None
    check(case, "average_precision", got["average_precision"], precision)
    check(case, "log_loss", got["log_loss"], metrics.log_loss(truth, score, labels=[0, 1]))
    # `brier_score_loss` asks for both classes; the definition does not.
    brier = metrics.brier_score_loss(truth, score) if both else np.mean((score - truth) ** 2)
    check(case, "brier", got["brier"], brier)
    check(case, "calibration_error", got["calibration_error"], calibration_error(score, truth))


def check_multiclass(case, scores, predicted, truth):
    classes = scores.shape[1]
    lines = zip(scores.tolist(), predicted.tolist(), truth.tolist())
    rows = [{"scores": s, "predicted": p, "truth": t} for s, p, t in lines]
    got = report("multiclass", rows, classes)
    labels = list(range(classes))
    confusion = metrics.confusion_matrix(truth, predicted, labels=labels)
    if got["confusion"] != confusion.tolist():
        failures.append(f"{case}: the confusion matrix is {got['confusion']}")
    check(case, "accuracy", got["accuracy"], metrics.accuracy_score(truth, predicted))
    for average, names in [("macro", ["precision", "recall", "f1"]), ("weighted", ["f1"])]:
        for name in names:
            want = getattr(metrics, f"{name}_score")(truth, predicted, average=average, zero_division=0)
            check(case, f"{average}_{name}", got[f"{average}_{name}"], want)
    per_class = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    for label, wants in enumerate(zip(*per_class)):
        for name, want in zip(["precision", "recall", "f1", "support"], wants):
            check(case, f"{name} of class {label}", got["per_class"][label][name], want)
    auc = None
    if len(np.unique(truth)) == classes:
        auc = metrics.roc_auc_score(truth, scores, multi_class="ovr", average="macro", labels=labels)
    check(case, "roc_auc_ovr", got["roc_auc_ovr"], auc)
    check(case, "log_loss", got["log_loss"], metrics.log_loss(truth, scores, labels=labels))
    brier = metrics.brier_score_loss(truth, scores, labels=labels, scale_by_half=False)
    check(case, "brier", got["brier"], brier)
    top = scores.argmax(axis=1)
    want = calibration_error(scores.max(axis=1), (top == truth).astype(float))
    check(case, "calibration_error", got["calibration_error"], want)


def regression_rows(value, truth):
    return [{"value": v, "truth": t} for v, t in zip(value.tolist(), truth.tolist())]


def check_regression(case, value, truth):
    got = report("regression", regression_rows(value, truth))
    check(case, "mae", got["mae"], metrics.mean_absolute_error(truth, value))
    check(case, "rmse", got["rmse"], metrics.root_mean_squared_error(truth, value))
    check(case, "mape", got["mape"], metrics.mean_absolute_percentage_error(truth, value))
    varies = len(np.unique(truth)) > 1
    check(case, "r2", got["r2"], metrics.r2_score(truth, value) if varies else None)
    check(case, "bias", got["bias"], np.mean(value - truth))


def softmax(values):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def definitions(random):
    truth = random.random(5_000) < 0.3
    score = 1 / (1 + np.exp(-random.normal(truth * 1.5 - 1, 1)))
    check_binary("f64 scores", score, truth)
    check_binary("f32 scores", score.astype(np.float32), truth)
    mixed = np.where(random.random(5_000) < 0.5, score, score.astype(np.float32))
    check_binary("f32 and f64 scores", mixed, truth)
    check_binary("ties on the bins' edges", np.round(score, 1), truth)
    check_binary("ties", np.round(score, 2), truth)
    check_binary("one score", np.full(100, 0.25), truth[:100])
    check_binary("certain scores", (score > 0.4).astype(float), truth)
    check_binary("tiny scores", score**40, truth, threshold=1e-9)
    rare = random.random(20_000) < 0.002
    check_binary("imbalanced", random.beta(1 + rare * 2, 30), rare, threshold=0.1)
    check_binary("never called positive", score, truth, threshold=2)
    check_binary("all negative", score, np.zeros(5_000))
    check_binary("all positive", score, np.ones(5_000))
    check_binary("two rows", [0.2, 0.7], [0, 1])

    truth = random.choice(4, 3_000, p=[0.5, 0.3, 0.15, 0.05])
    scores = softmax(random.normal(size=(3_000, 4)) + 1.2 * np.eye(4)[truth])
    check_multiclass("4 classes", scores, scores.argmax(axis=1), truth)
    check_multiclass("predictions by chance", scores, random.integers(0, 4, 3_000), truth)
    narrow = softmax(np.round(scores * 4)).astype(np.float32).astype(np.float64)
    check_multiclass("f32 scores with ties", narrow, narrow.argmax(axis=1), truth)
    absent = truth % 3
    check_multiclass("a class predicted, never true", scores, scores.argmax(axis=1), absent)
    check_multiclass("a class neither", scores, scores[:, :3].argmax(axis=1), absent)
    many = random.integers(0, 40, 2_000)
    scores = softmax(random.normal(size=(2_000, 40)) + 2 * np.eye(40)[many])
    check_multiclass("40 classes", scores, scores.argmax(axis=1), many)

    truth = random.normal(3, 2, 4_000)
    value = truth + random.normal(0.2, 1, 4_000)
    check_regression("plain", value, truth)
    check_regression("zeros in truth", value, np.where(random.random(4_000) < 0.1, 0, truth))
    check_regression("an offset of a million", value + 1e6, truth + 1e6)
    check_regression("an offset of a billion", value + 1e9, truth + 1e9)
    check_regression("tiny", value * 1e-9, truth * 1e-9)
    check_regression("worse than the mean", -value, truth)
    check_regression("one truth", value, np.full(4_000, 0.1))
    check_regression("one row", value[:1], truth[:1])
    check_skipped()


def check_skipped():
    rows = [
        {"score": "nan", "predicted": 1, "truth": 1},
        {"score": None, "predicted": 0, "truth": 1},
        {"score": 0.25, "predicted": False, "truth": False},
    ]
    got = report("binary", rows)
    for name, want in [("rows", 3), ("scored_rows", 1), ("skipped", 1), ("true_positive", 1)]:
        check("a score that is no number", name, got[name], want)
    check("a score that is no number", "brier", got["brier"], 0.0625)


def coverage(random):
    def binary(rows):
        truth = random.random(rows) < 0.35
        # A logit of 1.5 x - 0.6 for x normal around the truth: neither perfect nor calibrated.
        score = 1 / (1 + np.exp(-(1.5 * random.normal(truth * 1.2 - 0.4, 1) - 0.6)))
        return score, (score > 0.5).astype(int), truth.astype(int)

    def regression(rows):
        truth = random.normal(10, 3, rows)
        return truth + random.normal(0.5, 2, rows), truth

    score, predicted, truth = binary(4_000_000)
    wants = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": metrics.precision_score(truth, predicted),
        "recall": metrics.recall_score(truth, predicted),
        "f1": metrics.f1_score(truth, predicted),
        "roc_auc": metrics.roc_auc_score(truth, score),
        "average_precision": metrics.average_precision_score(truth, score),
        "log_loss": metrics.log_loss(truth, score),
        "brier": metrics.brier_score_loss(truth, score),
    }
    value, truth = regression(4_000_000)
    wants |= {
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
        "r2": metrics.r2_score(truth, value),
        "bias": 0.5,
    }
    sets = 300
    covered = dict.fromkeys(wants, 0)
    for _ in range(sets):
        got = report("binary", binary_rows(*binary(400)))
        got |= report("regression", regression_rows(*regression(400)))
        for name, want in wants.items():
            covered[name] += got[name]["low"] <= want <= got[name]["high"]
    for name, count in covered.items():
        print(f"{name}: the interval covers the truth in {100 * count / sets:.1f} %")
        if count < 0.9 * sets:
            failures.append(f"{name}: its interval covers the truth {count} times in {sets}")


warnings.filterwarnings("ignore")
definitions(np.random.default_rng(20260729))
coverage(np.random.default_rng(20260730))
if failures:
    sys.exit("\n".join(failures))
print("every definition agrees to 1e-9")
