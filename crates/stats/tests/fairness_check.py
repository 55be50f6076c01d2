"""Compares `examples/fairness.rs` with fairlearn on the same rows, and the bounds of gaps with known truths.

    cargo build -p stats --example fairness
    python fairness_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, pandas and fairlearn 0.15. Exits non-zero where a number differs by more than 1e-9, or where a
bound at 95 % misses the true gap more often than 7 times in 100.

AIF360's signed comparisons, indices and weights are closed forms, written out here. One difference to
fairlearn is meant: it takes the rate of a group to be 0 where the group has no rows for it, and so such
groups are left out of what fairlearn is given for that rate.
"""

import math
import sys
import warnings

import numpy as np
import pandas as pd
from fairlearn import metrics
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.base import BaseEstimator, ClassifierMixin

import example

TOLERANCE = 1e-9
failures = []
compared = 0


class Score(ClassifierMixin, BaseEstimator):
    """Says what it is given."""

    def fit(self, x, y):
        self.classes_ = np.array([0, 1])
        self.fitted_ = True
        return self

    def predict(self, x):
        return np.asarray(x)[:, 0]


def report(groups, group, predicted, truth, score=None, support_min=30):
    head = {"groups": groups, "level": 0.95, "support_min": support_min}
    head |= {"unprivileged": 0, "privileged": 1}
    columns = {"group": group, "predicted": predicted, "truth": truth}
    if score is not None:
        columns["score"] = score
    lists = [np.asarray(column).tolist() for column in columns.values()]
    rows = [dict(zip(columns, row)) for row in zip(*lists)]
    (answer,) = example.answers([head, *rows])
    return answer


def check(case, name, got, want):
    global compared
    compared += 1
    want = None if want is None or math.isnan(want) else float(want)
    if got is None or want is None:
        right = got is want
    else:
        right = abs(got - want) <= TOLERANCE * max(1, abs(want))
    if not right:
        failures.append(f"{case}: {name} is {got}, wanted {want}")


def frame(metric, kept, group, predicted, truth):
    """Of the groups with rows for the metric; `None` without any."""
    kept = np.isin(group, np.unique(group[kept]))
    if not kept.any():
        return None
    return metrics.MetricFrame(
        metrics=metric,
        y_true=truth[kept],
        y_pred=predicted[kept],
        # A bare array of one element is refused.
        sensitive_features=pd.Series(group[kept], name="group"),
    )


def check_case(case, groups, group, predicted, truth):
    got = report(groups, group, predicted, truth)
    rows = (group, predicted, truth)
    frames = {
        "selection": frame(metrics.selection_rate, truth >= 0, *rows),
        "true_positive": frame(metrics.true_positive_rate, truth == 1, *rows),
        "false_positive": frame(metrics.false_positive_rate, truth == 0, *rows),
        "accuracy": frame(lambda t, p: np.mean(t == p), truth >= 0, *rows),
    }
    for name, of in frames.items():
        gap = got["report"][name]
        for key, method in [("", "between_groups"), ("_to_overall", "to_overall")]:
            # The overall rate is the same without the groups left out, but for the selection.
            want = of and of.difference(method=method)
            check(case, f"{name} difference{key}", gap["difference" + key], want)
            want = of and of.ratio(method=method)
            check(case, f"{name} ratio{key}", gap["ratio" + key], want)
        for place in range(groups):
            rate = got["report"]["groups"][place][name]["estimate"]
            want = of.by_group.get(place) if of else None
            check(case, f"{name} of group {place}", rate and rate["value"], want)
        wanted = [place for place in range(groups) if support(name, place, *rows) < 30]
        if gap["left_out"] != wanted:
            failures.append(f"{case}: {name} leaves out {gap['left_out']}, not {wanted}")
    both = {"sensitive_features": group}
    if all(of is not None and len(of.by_group) == len(np.unique(group)) for of in frames.values()):
        found = got["report"]
        for name, want in [
            ("difference", metrics.equalized_odds_difference(truth, predicted, **both)),
            ("difference_mean", metrics.equalized_odds_difference(truth, predicted, agg="mean", **both)),
        ]:
            check(case, name, found[f"equalised_odds_{name}"], want)
        want = metrics.demographic_parity_difference(truth, predicted, **both)
        check(case, "parity", found["selection"]["difference"], want)
        want = metrics.demographic_parity_ratio(truth, predicted, **both)
        check(case, "parity ratio", found["selection"]["ratio"], want)
        want = metrics.equal_opportunity_ratio(truth, predicted, **both)
        check(case, "opportunity ratio", found["true_positive"]["ratio"], want)
        # Where one ratio is NaN, fairlearn's answer hangs on which comes first.
        pair = [found[name]["ratio"] for name in ["true_positive", "false_positive"]]
        if None not in pair:
            want = metrics.equalized_odds_ratio(truth, predicted, **both)
            check(case, "odds ratio", found["equalised_odds_ratio"], want)
    check_closed_forms(case, got, groups, *rows)


def support(name, place, group, predicted, truth):
    of = group == place
    if name == "true_positive":
        of = of & (truth == 1)
    if name == "false_positive":
        of = of & (truth == 0)
    return int(of.sum())


def mean(values):
    return values.mean() if len(values) else math.nan


def check_closed_forms(case, got, groups, group, predicted, truth):
    def sides(kept):
        return [mean(predicted[(group == place) & kept]) for place in (0, 1)]

    everyone = np.ones(len(group), dtype=bool)
    selection, hits, alarms = sides(everyone), sides(truth == 1), sides(truth == 0)
    signed = got["signed"]
    check(case, "statistical parity", signed["statistical_parity"], selection[0] - selection[1])
    impact = selection[0] / selection[1] if selection[1] > 0 else None
    check(case, "disparate impact", signed["disparate_impact"], impact)
    hit, alarm = hits[0] - hits[1], alarms[0] - alarms[1]
    check(case, "equal opportunity", signed["equal_opportunity"], hit)
    check(case, "average odds", signed["average_odds"], (hit + alarm) / 2)
    check(case, "absolute odds", signed["average_absolute_odds"], (abs(hit) + abs(alarm)) / 2)
    benefit = predicted - truth + 1
    if benefit.any():
        relative = benefit / benefit.mean()
        theil = np.mean([it * math.log(it) if it else 0 for it in relative])
        check(case, "Theil", got["theil_index"], theil)
        check(case, "entropy", got["generalised_entropy"], np.mean(relative**2 - 1) / 2)
    for place in range(groups):
        for label in (0, 1):
            of, known = group == place, truth == label
            both = (of & known).mean()
            want = of.mean() * known.mean() / both if both else None
            check(case, "weight", got["reweighing"][place][label], want)


def check_thresholds(case, groups, group, score, truth):
    predicted = (score > 0.5).astype(int)
    got = report(groups, group, predicted, truth, score)["thresholds"]
    fitted = ThresholdOptimizer(
        estimator=Score().fit(None, None),
        constraints="demographic_parity",
        objective="accuracy_score",
        grid_size=1000,
        prefit=True,
        predict_method="predict",
    ).fit(score[:, None], truth, sensitive_features=group)
    check(case, "expected accuracy", got["accuracy"], fitted._y_best)
    check(case, "selection rate", got["selection"], fitted._x_best)
    for place, want in fitted.interpolated_thresholder_.interpolation_dict.items():
        mix = got["groups"][place]
        check(case, f"share of group {place}", mix["upper_share"], want.p0)
        for name, operation in [("upper", want.operation0), ("lower", want.operation1)]:
            threshold = float(mix[name])
            if operation.operator != ">" or threshold != operation.threshold:
                failures.append(f"{case}: {name} of group {place} is {threshold}, not {operation}")


def rows(random, groups, count):
    # The last group is rare.
    weights = np.append(np.full(groups - 1, 1.0), 0.05)
    group = random.choice(groups, count, p=weights / weights.sum())
    truth = (random.random(count) < 0.3 + 0.3 * group / groups).astype(int)
    score = 1 / (1 + np.exp(-random.normal(truth * 1.5 - 0.7 - 0.2 * group, 1)))
    return group, score, truth


def definitions(random):
    for groups in range(2, 7):
        for count in [groups, 20, 60, 300, 2_000]:
            for turn in range(4):
                group, score, truth = rows(random, groups, count)
                case = f"{groups} groups, {count} rows, {turn}"
                check_case(case, groups, group, (score > 0.5).astype(int), truth)
    group, score, truth = rows(random, 3, 600)
    predicted = (score > 0.5).astype(int)
    check_case("never called", 3, group, predicted * 0, truth)
    check_case("always called", 3, group, predicted * 0 + 1, truth)
    check_case("perfect", 3, group, truth, truth)
    check_case("wrong", 3, group, 1 - truth, truth)
    check_case("no false positives", 3, group, predicted * truth, truth)
    one_sided = np.where(group == 1, 0, truth)
    check_case("a group without positives", 3, group, predicted, one_sided)
    check_case("a group without negatives", 3, group, predicted, np.where(group == 0, 1, truth))
    check_case("a group without rows", 4, group, predicted, truth)
    check_case("no positives", 3, group, predicted, truth * 0)
    check_case("no negatives", 3, group, predicted, truth * 0 + 1)
    kept = group != 1
    check_case("the privileged missing", 3, group[kept], predicted[kept], truth[kept])


def thresholds(random):
    for groups in range(2, 7):
        for count, digits in [(300, 16), (1_000, 1), (3_000, 2), (20_000, 16)]:
            group, score, truth = rows(random, groups, count)
            # Every group has both labels, which fairlearn asks for.
            group = np.append(group, np.repeat(np.arange(groups), 2))
            truth = np.append(truth, np.tile([0, 1], groups))
            score = np.round(np.append(score, random.random(2 * groups)), digits)
            check_thresholds(f"{groups} groups, {count} rows", groups, group, score, truth)


def coverage(random):
    for rates in [[0.3, 0.3, 0.3], [0.3, 0.35, 0.5], [0.05, 0.02], [0.9, 0.8, 0.85, 0.7]]:
        gap, missed, sets = max(rates) - min(rates), 0, 400
        for _ in range(sets):
            group = random.integers(0, len(rates), 60 * len(rates))
            predicted = (random.random(len(group)) < np.array(rates)[group]).astype(int)
            bound = report(len(rates), group, predicted, predicted)["report"]["selection"]["bound"]
            missed += not bound["low"] - 1e-12 <= gap <= bound["high"]
        print(f"rates {rates}: the bound misses the true gap in {100 * missed / sets:.1f} %")
        if missed > 0.07 * sets:
            failures.append(f"rates {rates}: the bound misses the gap {missed} times in {sets}")


warnings.filterwarnings("ignore")
definitions(np.random.default_rng(20260729))
thresholds(np.random.default_rng(20260730))
coverage(np.random.default_rng(20260731))
if failures:
    sys.exit("\n".join(failures))
print(f"{compared} numbers agree to 1e-9")
