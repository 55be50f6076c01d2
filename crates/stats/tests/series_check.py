"""Compares `examples/series.rs` with numpy and scipy on the same series and p-values.

    cargo build -p stats --example series
    python series_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy and scipy 1.11 or newer; with statsmodels, the seasonal component of its robust STL is tried as well. Exits non-zero where a number differs by more than 1e-9 of itself, or a decision at all.
"""

import json
import math
import sys
import warnings

import numpy as np
from scipy import stats

import example

TOLERANCE = 1e-9
QUARTILE = 0.6745
questions, wanted, failures = [], [], []

# Airline passengers a month, in thousands, 1949 to 1952: Box & Jenkins, Time Series Analysis (1970), series G.
AIRLINE = [
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118,
    115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140,
    145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194,
]
# Rosner, Technometrics 25 (1983): the test at 5 % finds the last three.
ROSNER = [
    -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69, 1.70,
    1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37, 2.40,
    2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42, 6.01,
]


def plain(value):
    """JSON has no word for some numbers."""
    if isinstance(value, dict):
        return {name: plain(it) for name, it in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(it) for it in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else str(float(value))
    return int(value) if isinstance(value, np.integer) else value


def ask(case, want, kind, **fields):
    questions.append(json.dumps(plain({"kind": kind, **fields})))
    wanted.append((f"{case}, {kind}", plain(want)))


def same(got, want):
    if isinstance(want, dict):
        return isinstance(got, dict) and got.keys() == want.keys() and all(same(got[it], want[it]) for it in want)
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, float):
        number = isinstance(got, (int, float)) and not isinstance(got, bool)
        return number and abs(got - want) <= TOLERANCE * abs(want) + 1e-15
    return type(got) is type(want) and got == want


def missing_as_none(values):
    return [None if np.isnan(it) else float(it) for it in values]


def kept(values):
    return values[np.isfinite(values)]


def centre(values):
    values = kept(np.asarray(values, float))
    if len(values) == 0:
        return None
    return [float(np.median(values)), float(stats.median_abs_deviation(values))]


def score(values, value):
    found = centre(values)
    if found is None or found[1] == 0:
        return math.nan
    return QUARTILE * (value - found[0]) / found[1]


def residuals(values, period, seasons):
    out = np.full(len(values), np.nan)
    for index in range(period * seasons, len(values)):
        before = values[index - period * seasons : index : period]
        if 2 * len(kept(before)) >= seasons:
            out[index] = values[index] - np.median(kept(before))
    return out


def phases(values, period):
    whole = np.median(kept(values))
    found = [kept(values[it::period]) for it in range(period)]
    medians = [np.median(it) - whole if len(it) else 0.0 for it in found]
    return np.array([medians[it % period] for it in range(len(values))])


def esd(values, anomalies_max, alpha, place, scale):
    left = [it for it in range(len(values)) if not np.isnan(values[it])]
    steps, anomalies = [], 0
    while len(left) > 2 and len(steps) < anomalies_max:
        rest = values[left]
        width = scale(kept(rest))
        if not width > 0:
            break
        distances = np.abs((rest - place(kept(rest))) / width)
        furthest = int(np.argmax(distances))
        count = len(left)
        t = stats.t.isf(alpha / (2 * count), count - 2)
        critical = (count - 1) * t / np.sqrt((count - 2 + t * t) * count)
        steps.append([left.pop(furthest), float(distances[furthest]), float(critical)])
        if steps[-1][1] > critical:
            anomalies = len(steps)
    return {"steps": steps, "anomalies": sorted(it[0] for it in steps[:anomalies])}


def check_esd(case, values, season, anomalies_max, alpha):
    limits = {"anomalies_max": anomalies_max, "alpha": alpha}
    deviation = lambda it: np.std(it, ddof=1) if np.ptp(it) > 0 else 0.0
    ask(case, esd(values, place=np.mean, scale=deviation, **limits), "esd", values=values, **limits)
    rest = values - season - np.median(kept(values))
    scale = lambda it: stats.median_abs_deviation(it) / QUARTILE
    want = esd(rest, place=np.median, scale=scale, **limits)
    ask(case, want, "shesd", values=values, season=season, **limits)


def check_ewma(case, values, baseline, mean, deviation, weight, limit, kind):
    points, average, count = [], mean, 0
    for value in values:
        if np.isnan(value):
            points.append(None)
            continue
        if np.isfinite(value):
            count += 1
            average = weight * value + (1 - weight) * average
        grown = 1 - (1 - weight) ** (2 * max(count, 1))
        half = limit * deviation * np.sqrt(weight / (2 - weight) * grown)
        out = bool(np.isinf(value) or abs(average - mean) > half)
        points.append([float(average), float(mean - half), float(mean + half), out])
    if kind == "ewma":
        ask(case, points, kind, values=values, mean=mean, deviation=deviation, weight=weight, limit=limit)
    else:
        ask(case, points, kind, values=values, baseline=baseline)


def check_series(case, values, period, seasons, anomalies_max):
    values = np.asarray(values, float)
    ask(case, centre(values), "centre", values=values)
    ask(case, missing_as_none([score(values, it) for it in values]), "scores", values=values)
    for window in [3, period, 2 * period + 1]:
        rolling = np.full(len(values), np.nan)
        for index in range(window, len(values)):
            before = values[index - window : index]
            if 2 * len(kept(before)) >= window:
                rolling[index] = score(before, values[index])
        ask(case, missing_as_none(rolling), "rolling", values=values, window=window)
    left = residuals(values, period, seasons)
    ask(case, missing_as_none(left), "residuals", values=values, period=period, seasons=seasons)
    scores = missing_as_none([score(left, it) for it in left])
    ask(case, scores, "seasonal", values=values, period=period, seasons=seasons)
    season = phases(values, period)
    ask(case, season, "phases", values=values, period=period)
    for alpha in [0.001, 0.05, 0.3]:
        check_esd(case, values, season, anomalies_max, alpha)
    baseline = values[: len(values) // 2]
    mean, deviation = np.mean(kept(baseline)), np.std(kept(baseline), ddof=1)
    check_ewma(case, values, baseline, mean, deviation, 0.2, 3.0, "ewma_of_baseline")
    for weight, limit in [(0.05, 2.5), (0.2, 3.0), (1.0, 3.0)]:
        check_ewma(case, values, None, mean, deviation, weight, limit, "ewma")


def check_persistence(random, needed, windows):
    flags = random.random(200) < 0.4
    alarms = [bool(flags[max(0, it - windows + 1) : it + 1].sum() >= needed) for it in range(200)]
    ask(f"{needed} of {windows}", alarms, "persistence", values=flags * 1.0, needed=needed, windows=windows)


def check_adjusted(case, p_values, alpha=0.05):
    present = ~np.isnan(p_values)
    for dependence, method in [("positive", "bh"), ("any", "by")]:
        adjusted = np.full(len(p_values), np.nan)
        adjusted[present] = stats.false_discovery_control(p_values[present], method=method)
        want = {"adjusted": missing_as_none(adjusted), "discoveries": [bool(it) for it in adjusted <= alpha]}
        ask(case, want, "adjusted", values=p_values, dependence=dependence, alpha=alpha)


def lord_weights(count):
    j = np.arange(1, count + 1)
    # The sum over 2 million terms, and the integral of the rest: 2 Γ(4, sqrt(log N)).
    many = np.arange(1.0, 2_000_001.0)
    terms = np.log(np.maximum(many, 2)) / (many * np.exp(np.sqrt(np.log(many))))
    x = np.sqrt(np.log(many[-1]))
    rest = 2 * np.exp(-x) * (x**3 + 3 * x**2 + 6 * x + 6) - terms[-1] / 2
    return np.log(np.maximum(j, 2)) / (j * np.exp(np.sqrt(np.log(j)))) / (terms.sum() + rest)


def check_online(case, p_values, alpha):
    """As the papers write it: every past discovery one by one."""
    gamma, found, want = lord_weights(len(p_values)), [], []
    for t, p_value in enumerate(p_values, 1):
        level = gamma[t - 1] * alpha / 2
        for order, tau in enumerate(found):
            level += gamma[t - tau - 1] * (alpha / 2 if order == 0 else alpha)
        want.append([float(level), bool(p_value <= level)])
        if p_value <= level:
            found.append(t)
    ask(case, want, "lord", values=p_values, alpha=alpha)

    from scipy.special import zeta

    gamma = np.arange(1, len(p_values) + 1) ** -1.6 / zeta(1.6)
    candidate = np.asarray(p_values) <= 0.5
    found, want = [], []
    for t, p_value in enumerate(p_values, 1):
        level = alpha / 2 * gamma[t - candidate[: t - 1].sum() - 1]
        for order, tau in enumerate(found):
            since = t - tau - candidate[tau : t - 1].sum()
            level += gamma[since - 1] * (alpha / 2 if order == 0 else alpha)
        level = min(0.5, 0.5 * level)
        want.append([float(level), bool(p_value <= level)])
        if p_value <= level:
            found.append(t)
    ask(case, want, "saffron", values=p_values, alpha=alpha)


def definitions(random):
    check_series("airline", AIRLINE, 12, 2, 5)
    check_series("rosner", ROSNER, 4, 3, 10)
    for case in range(6):
        count, period = int(random.integers(90, 400)), int(random.integers(2, 25))
        noise = random.normal(size=count) if case % 2 else random.standard_t(2, size=count)
        values = 5 * np.sin(2 * np.pi * np.arange(count) / period) + noise
        check_series(f"random {case}", values * 10.0 ** (3 * case - 6), period, 1 + case % 4, 3 + 5 * case)
        values[random.random(count) < 0.2] = np.nan
        values[random.integers(0, count, 2)] = np.inf
        values[random.integers(0, count, 2)] = -np.inf
        check_series(f"random {case} with gaps", values, period, 1 + case % 4, 3 + 5 * case)
    check_series("ties", random.integers(0, 6, 120) * 1.0, 7, 3, 8)
    check_series("mostly one value", np.where(random.random(120) < 0.2, random.normal(size=120), 2.0), 6, 3, 8)
    check_series("short", random.normal(size=4), 2, 1, 4)
    large = random.normal(size=5_000)
    large[:60] += 8 * random.choice([-1, 1], 60)
    check_esd("large", large, phases(large, 24), 100, 0.05)

    for needed, windows in [(1, 1), (2, 3), (3, 5), (20, 64), (64, 64)]:
        check_persistence(random, needed, windows)

    check_adjusted("uniform", random.random(200))
    for share in [0.05, 0.3, 0.9]:
        p_values = np.where(random.random(500) < share, random.random(500) ** 8, random.random(500))
        check_adjusted(f"{share} signals", p_values)
        check_adjusted(f"{share} signals, rounded", p_values.round(2))
        p_values[random.random(500) < 0.1] = np.nan
        check_adjusted(f"{share} signals, with gaps", p_values)
    check_adjusted("ends", np.array([0.0, 1.0, 0.0, 1.0, 0.05]))
    check_adjusted("one", np.array([0.03]))
    # Up to here every discovery is counted by itself: see R2 of `fdr/online.rs`.
    for share in [0.0, 0.1, 0.5, 1.0]:
        p_values = np.where(random.random(512) < share, random.random(512) ** 12, random.random(512))
        check_online(f"{share} signals", p_values, 0.05)
        check_online(f"{share} signals", p_values, 0.2)

    try:
        from statsmodels.tsa.seasonal import STL
    except ImportError:
        return print("without statsmodels, no STL")
    values = np.asarray(AIRLINE, float)
    values[30] += 60
    check_esd("STL", values, STL(values, period=12, robust=True).fit().seasonal, 5, 0.05)


warnings.filterwarnings("ignore")
definitions(np.random.default_rng(20261124))
answers = example.answers(questions)
if len(answers) != len(wanted):
    failures.append(f"{len(answers)} answers to {len(wanted)} questions")
for got, (case, want) in zip(answers, wanted):
    if not same(got, want):
        failures.append(f"{case}: {str(got)[:300]}, wanted {str(want)[:300]}")
if failures:
    sys.exit("\n".join(failures))
print(f"all {len(wanted)} answers agree to 1e-9")
