"""Compares `examples/sequential.rs` with the same quantities by other ways, in SciPy.

    cargo build -p stats --example sequential
    python sequential_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, scipy and statsmodels. Exits non-zero where a number differs by more than 1e-7 of its size.

The package confseq, by the authors of most formulas, has no wheel and wants a compiler with Boost, so its functions are not
called. Where it can be, a number is got by another way than in the crate: the ends of an interval by a root finder on
SciPy's beta function, the nearest pair of rates by minimising a divergence, the assignment's evidence as a ratio of two of
SciPy's distributions, the adjusted difference from NumPy's covariances, the one of several times from a regression with clusters.
"""

import math
import sys

import numpy as np
import statsmodels.api as sm
from scipy import optimize, special, stats

import example

TOLERANCE = 1e-7
failures = []
compared = 0
questions = []


def ask(case, want, **question):
    questions.append((case, question, want))


def check(case, got, want):
    """`want` is a number, None, or a list or a dictionary of such."""
    global compared
    if isinstance(want, dict):
        for name, it in want.items():
            check(f"{case}, {name}", got[name], it)
    elif isinstance(want, (list, tuple, np.ndarray)):
        if len(got) != len(want):
            failures.append(f"{case}: {len(got)} numbers, not {len(want)}")
        for place, (one, other) in enumerate(zip(got, want)):
            check(f"{case}[{place}]", one, other)
    else:
        compared += 1
        if got is None or want is None:
            right = got is want
        else:
            right = abs(got - want) <= TOLERANCE * max(abs(want), 1e-3)
        if not right:
            failures.append(f"{case}: {got}, not {want}")


def ln_evidence(units, events, share):
    mixture = special.betaln(1 + events, 1 + units - events)
    return mixture - special.xlogy(events, share) - special.xlog1py(units - events, -share)


def share_interval(units, events, alpha):
    value = events / units
    beyond = lambda it: ln_evidence(units, events, it) + math.log(alpha)
    tight = {"xtol": 1e-15, "rtol": 1e-14}
    low = optimize.brentq(beyond, 1e-13 * value, value, **tight) if events else 0.0
    high = 1.0 if events == units else optimize.brentq(beyond, value, 1 - 1e-13, **tight)
    return [value, low, high]


def shares(random):
    for units, events in [
        (1, 0),
        (1, 1),
        (10, 3),
        (500, 0),
        (500, 500),
        (20_000, 7),
        (10**6, 40_000),
    ]:
        for alpha in (0.2, 0.05, 0.001):
            case = f"share {events} of {units} at {alpha}"
            ask(
                case,
                share_interval(units, events, alpha),
                ask="share",
                units=units,
                events=events,
                alpha=alpha,
            )
        share = float(random.uniform(0.001, 0.999))
        want = ln_evidence(units, events, share)
        ask(
            f"evidence {events} of {units}",
            want,
            ask="evidence",
            units=units,
            events=events,
            share=share,
        )


def bet(one, other, rates, margin):
    """The nearest pair on the margin, as the least of a divergence, not as the root of its slope."""
    (n, s), (n_other, s_other) = one, other
    q, q_other = rates
    if q <= q_other + margin or not n or not n_other:
        return 0.0

    def divergence(p):
        return -(
            n_other * (special.xlogy(q_other, p) + special.xlog1py(1 - q_other, -p))
            + n * (special.xlogy(q, p + margin) + special.xlog1py(1 - q, -p - margin))
        )

    bounds = (max(q_other, -margin), min(q - margin, 1, 1 - margin))
    p = optimize.minimize_scalar(
        divergence, bounds=bounds, method="bounded", options={"xatol": 1e-13}
    ).x
    # Newton's steps from there: a minimum is flat, and so known to half of the digits.
    for _ in range(4):
        slope = n_other * (p - q_other) / (p * (1 - p)) + n * (p + margin - q) / (
            (p + margin) * (1 - p - margin)
        )
        step = 1e-7 * p
        curve = (divergence(p + step) - 2 * divergence(p) + divergence(p - step)) / step**2
        if curve > 0 and bounds[0] < p - slope / curve < bounds[1]:
            p -= slope / curve
    likelihood = lambda n, s, rate: special.xlogy(s, rate) + special.xlog1py(n - s, -rate)
    return (
        likelihood(n, s, q)
        - likelihood(n, s, p + margin)
        + likelihood(n_other, s_other, q_other)
        - likelihood(n_other, s_other, p)
    )


def rates(random):
    for margin, truth, truth_other in [
        (0.0, 0.02, 0.01),
        (0.005, 0.03, 0.01),
        (0.1, 0.4, 0.45),
        (-0.02, 0.1, 0.1),
        (0.002, 0.0, 0.001),
        (0.0, 1.0, 0.9),
    ]:
        windows, want, counted = [], [], []
        seen, seen_other, worse, sound = np.zeros(2), np.zeros(2), 0.0, 0.0
        waiting = np.zeros(4)
        before = lambda it: (it[1] + 0.18) / (it[0] + 0.36)
        for _ in range(60):
            # Of four windows one has no unit of an arm.
            n, n_other = (int(it) for it in random.integers(1, 200, 2) * (random.random(2) > 0.125))
            window = [n, random.binomial(n, truth), n_other, random.binomial(n_other, truth_other)]
            windows.append([int(it) for it in window])
            waiting = waiting + window
            if waiting[0] and waiting[2]:
                one, other = waiting[:2], waiting[2:]
                if seen[0] and seen_other[0]:
                    q, q_other = before(seen), before(seen_other)
                    worse += bet(one, other, (q, q_other), margin)
                    sound += bet(other, one, (q_other, q), -margin)
                seen, seen_other = seen + one, seen_other + other
                counted.append(waiting)
                waiting = np.zeros(4)
            want.append([worse, sound])
        case = f"rates {truth} and {truth_other}, margin {margin}"
        ask(case, {"all": want}, ask="rates", margin=margin, windows=windows)
        effect = design_effect(counted)
        evidence = min(worse / effect, len(counted) * math.log(2))
        ask(case, {"ln_worse": evidence}, ask="clustered", margin=margin, windows=windows)


def design_effect(windows):
    """By the variance between clusters of an ordinary least squares regression on the arm alone: its coefficient is the
    difference of the rates. Clusters are two windows each, as 60 of them make it, and 18 and more of those."""
    clusters = [np.sum(windows[at : at + 2], axis=0) for at in range(0, len(windows), 2)]
    if len(windows) <= 32:
        clusters = windows
    happened, arm, of, weights = [], [], [], []
    for place, (n, s, n_other, s_other) in enumerate(clusters):
        for is_candidate, units, events in ((1, n, s), (0, n_other, s_other)):
            for event, count in ((1, events), (0, units - events)):
                happened.append(event)
                arm.append(is_candidate)
                of.append(place)
                weights.append(count)
    repeated = np.repeat(np.arange(len(weights)), np.array(weights, dtype=int))
    y, x, groups = (np.array(it)[repeated] for it in (happened, arm, of))
    total = np.sum(windows, axis=0)
    shares = total[1] / total[0], total[3] / total[2]
    independent = sum(p * (1 - p) / n for p, n in zip(shares, (total[0], total[2])))
    if independent <= 0:
        return 1.0
    fitted = sm.OLS(y, sm.add_constant(x)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    count = len(clusters)
    variance = fitted.bse[1] ** 2 * count / (count - 1)
    return 1 + 1.5 * max(variance / independent - 1, 0)


def rho_squared(alpha, planned):
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned


def half(error, n, alpha, planned):
    rho = rho_squared(alpha, planned)
    return (
        error
        * math.sqrt(n)
        * math.sqrt(2 * (n * rho + 1) / (n**2 * rho) * math.log(math.sqrt(n * rho + 1) / alpha))
    )


def half_one_sided(error, n, alpha, planned, design=None):
    rho = rho_squared(2 * (design or alpha), planned)
    log = math.log(1 + math.sqrt(n * rho + 1) / (2 * alpha))
    return error * math.sqrt(n) * math.sqrt(2 * (n * rho + 1) / (n**2 * rho) * log)


def means(random):
    for n, n_other, alpha, planned in [
        (100, 80, 0.05, 5_000),
        (4_000, 3_000, 0.01, 1_000),
        (30, 900, 0.05, 5_000),
    ]:
        one, other = random.lognormal(0.1, 0.5, n), random.lognormal(0.0, 0.5, n_other)
        value = one.mean() - other.mean()
        error = math.sqrt(one.var(ddof=1) / n + other.var(ddof=1) / n_other)
        kurtosis = stats.kurtosis(one, fisher=False)
        enough = all(
            len(it) >= 40 and len(it) / stats.kurtosis(it, fisher=False) >= 20
            for it in (one, other)
        )
        wanted = {"kurtosis": kurtosis, "difference": [value, None, None], "ln_evidence": 0.0}
        if enough:
            width = half(error, n + n_other, alpha, planned)
            wanted["difference"] = [value, value - width, value + width]
            # The alpha at which the one-sided interval ends at the margin.
            beyond = lambda ln: (
                half_one_sided(error, n + n_other, math.exp(-ln), planned, alpha) - (value + 0.01)
            )
            wanted["ln_evidence"] = optimize.brentq(beyond, -50, 600, xtol=1e-13, rtol=1e-14)
        case = f"means of {n} and {n_other}"
        ask(
            case,
            wanted,
            ask="means",
            margin=-0.01,
            planned=planned,
            alpha=alpha,
            candidate=one.tolist(),
            control=other.tolist(),
        )
    for n, alpha, planned in [(10, 0.05, 100), (5_000, 0.05, 5_000), (10**8, 0.001, 10_000)]:
        want = [half(0.3, n, alpha, planned), half_one_sided(0.3, n, alpha, planned)]
        ask(f"half of {n}", want, ask="half", error=0.3, units=n, alpha=alpha, planned=planned)


def bounded(random):
    for alpha, x in [
        (0.05, random.beta(2, 5, 400)),
        (0.01, (random.uniform(size=400) < 0.03) * 1.0),
        (0.2, np.full(50, 0.5)),
    ]:
        t = np.arange(1, len(x) + 1)
        mean = (0.5 + np.cumsum(x)) / (t + 1)
        variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
        before = lambda first, all_: np.concatenate([[first], all_[:-1]])
        weight = np.minimum(
            0.5, np.sqrt(2 * np.log(2 / alpha) / (before(0.25, variance) * t * np.log(1 + t)))
        )
        penalty = np.cumsum((x - before(0.5, mean)) ** 2 * (-np.log(1 - weight) - weight))
        margin = (np.log(2 / alpha) + penalty) / np.cumsum(weight)
        value = np.cumsum(weight * x) / np.cumsum(weight)
        want = np.stack(
            [value, np.maximum(value - margin, 0), np.minimum(value + margin, 1)], axis=1
        )
        ask(f"bounded at {alpha}", want, ask="bounded", alpha=alpha, values=x.tolist())


def bands():
    for n, m, alpha in [(100, 100, 0.05), (10**6, 500, 0.01), (99, 100, 0.05)]:
        want = (
            0.85
            * math.sqrt((math.log(math.log(math.e * n / m)) + 0.8 * math.log(1612 / alpha)) / n)
            if n >= m
            else None
        )
        ask(f"band of {n}", want, ask="band", units=n, alpha=alpha, **{"from": m})


def assignments(random):
    for share in ([0.5, 0.5], [0.01, 0.99], [0.05, 0.05, 0.9], [0.2] * 5):
        counts = random.multinomial(20_000, share).tolist()
        prior = stats.dirichlet_multinomial(100 * np.array(share), sum(counts)).logpmf(counts)
        want = prior - stats.multinomial(sum(counts), share).logpmf(counts)
        ask(f"assignment to {share}", want, ask="assignment", counts=counts, shares=share)


def cuped(random):
    arms = []
    for count, by in ((500, 0.3), (400, 0.0)):
        before = random.normal(3, 2, count)
        arms.append(np.stack([0.7 * before + random.normal(by, 1, count), before], axis=1))
    covariances = [np.cov(it.T) * (len(it) - 1) for it in arms]
    slope = sum(it[0, 1] for it in covariances) / sum(it[1, 1] for it in covariances)
    adjusted = [it[:, 0] - slope * it[:, 1] for it in arms]
    value = adjusted[0].mean() - adjusted[1].mean()
    error = math.sqrt(sum(it.var(ddof=1) / len(it) for it in adjusted))
    width = half(error, 900, 0.05, 2_000)
    pairs = {name: it.tolist() for name, it in zip(("candidate", "control"), arms)}
    # The example reads columns, so a pair is one.
    ask("cuped", [value, value - width, value + width], ask="cuped", planned=2_000, **pairs)


def strata(random):
    """Regular units come in each time, with the arm that their place has by its share; others once."""
    rows = []
    for period, (share, usual) in enumerate([(0.5, 1.0), (0.7, 4.0), (0.9, 2.5)]):
        for number in range(80):
            unit = number if number < 40 else 1000 * (period + 1) + number
            place = (unit * 0.6180339887) % 1
            before = ((unit * 0.7548776662) % 1) * 4
            value = usual + 0.5 * before + random.normal(0.2 * (place < share), 1)
            rows.append([period, int(place < share), unit, value, before])
    rows.sort(key=lambda it: it[2])
    period, arm, unit, value, before = np.array(rows).T
    cell = (2 * period + arm).astype(int)
    design = np.eye(6)[cell]
    # One slope within all cells; then a saturated regression, whose residuals are set to the cells' free number.
    slope = sm.OLS(value, np.column_stack([design, before])).fit().params[-1]
    adjusted = value - slope * before
    means = np.array([adjusted[cell == it].mean() for it in range(6)])
    counts = np.bincount(cell)
    spread = np.sqrt(counts / (counts - 1))[cell]
    fit = sm.OLS(means[cell] + spread * (adjusted - means[cell]), design)
    clusters = {"groups": unit.astype(int), "use_correction": False}
    fit = fit.fit(cov_type="cluster", cov_kwds=clusters)
    weights = np.bincount(period.astype(int)) / len(rows)
    contrast = np.stack([-weights, weights], axis=1).ravel()
    difference = contrast @ fit.params
    error = math.sqrt(contrast @ fit.cov_params() @ contrast)
    width = half(error, len(set(unit)), 0.05, 2_000)
    want = [difference, difference - width, difference + width]
    ask("strata", want, ask="strata", planned=2_000, rows=rows)


def main():
    random = np.random.default_rng(20261126)
    shares(random)
    rates(random)
    means(random)
    bounded(random)
    bands()
    assignments(random)
    cuped(random)
    strata(random)
    answers = example.answers([question for _, question, _ in questions])
    for (case, _, want), got in zip(questions, answers, strict=True):
        check(case, got, want)
    print(f"{compared} numbers compared, {len(failures)} differ")
    for failure in failures[:20]:
        print(f"  {failure}")
    return 1 if failures else 0


sys.exit(main())
