"""Compares `examples/drift.rs` with SciPy and NumPy on the same rows, and its corrections and intervals with known truths.

    cargo build -p stats --example drift
    python drift_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, scipy and scikit-learn, whose data sets it takes. Exits non-zero where a number differs by more than 1e-9 of itself (a probability by more than 1e-7), where an average distance between samples of one distribution is not near the one expected, or where an interval of 95 % covers the truth less than 90 times in 100.
"""

import sys

import numpy as np
from scipy import spatial, stats
from sklearn import datasets

import example

TOLERANCE = 1e-9
failures = []


def line(kind, reference, current, **more):
    def written(values):
        return [it if np.isfinite(it) else str(it) for it in np.asarray(values).tolist()]

    return {"kind": kind, "reference": written(reference), "current": written(current), **more}


def check(case, name, got, want, within=TOLERANCE):
    if not (got is not None and abs(got - want) <= within * abs(want) + 1e-12):
        failures.append(f"{case}: {name} is {got}, not {want}")


def check_table(case, got, a, b):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    p, q = a / a.sum(), b / b.sum()
    check(case, "total variation", got["total_variation"]["value"], abs(p - q).sum() / 2)
    check(case, "l infinity", got["l_infinity"], abs(p - q).max())
    hellinger = np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2)
    check(case, "hellinger", got["hellinger"]["value"], hellinger)
    # The two are a root of a difference that cancels: SciPy has fewer digits where both are close.
    jensen = spatial.distance.jensenshannon(p, q, base=2)
    check(case, "jensen shannon", got["jensen_shannon"]["value"], jensen, within=1e-6)
    floor_p, floor_q = np.where(p == 0, 1e-4, p), np.where(q == 0, 1e-4, q)
    psi = ((floor_p - floor_q) * np.log(floor_p / floor_q)).sum()
    check(case, "psi", got["psi_floor"]["value"], psi)
    p, q = (a + 0.5) / (a + 0.5).sum(), (b + 0.5) / (b + 0.5).sum()
    check(case, "psi, smoothed", got["psi"]["value"], ((p - q) * np.log(p / q)).sum())
    both = np.array([a, b])[:, a + b > 0]
    if both.shape[1] < 2:
        if got["chi_square"] is not None or got["cramers_v"] is not None:
            failures.append(f"{case}: chi-square of one cell")
        return
    want = stats.chi2_contingency(both, correction=False)
    statistic, degrees, probability = got["chi_square"]
    check(case, "chi-square", statistic, want.statistic)
    check(case, "degrees", degrees, want.dof)
    check(case, "p", probability, want.pvalue, within=1e-7)
    v, _ = got["cramers_v"]
    check(case, "V", v["value"], stats.contingency.association(both.astype(int), "cramer"))
    for end, below in (("low", 0.975), ("high", 0.025)):
        noncentrality = v[end] ** 2 * both.sum()
        # An end never lies past the value, and the greatest V is 1.
        if noncentrality > 0 and v[end] not in (1, v["value"]):
            found = stats.ncx2.cdf(statistic, degrees, noncentrality)
            check(case, f"the {end} end of V", found, below, within=1e-5)


def check_sample(case, got, a, b):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    exact = len(a) * len(b) <= 4_000_000
    want = stats.ks_2samp(a, b, method="exact" if exact else "asymp")
    check(case, "KS", got["ks"][0], want.statistic)
    if want.pvalue > 1e-200:
        check(case, "its p", got["ks"][1], want.pvalue, within=1e-7 if exact else 0.02)
    greater = stats.mannwhitneyu(b, a).statistic / len(a) / len(b)
    check(case, "AUC effect", got["auc_effect"]["value"], greater)
    if np.isfinite(a).all() and np.isfinite(b).all():
        check(case, "wasserstein", got["wasserstein"], stats.wasserstein_distance(a, b))
        check(case, "deviation", got["deviation"], a.std())
    elif got["wasserstein"] is not None or got["deviation"] is not None:
        failures.append(f"{case}: a distance to infinity")


def check_bins(case, got, a, b):
    bins = len(got["edges"]) + 1 + len(got["atoms"]) + 2
    least, greatest = got["range"]
    if (least, greatest) != (np.nanmin(a), np.nanmax(a)):
        failures.append(f"{case}: the range is {got['range']}")
    for name, values in (("reference", a), ("current", b)):
        values = np.asarray(values)[~np.isnan(values)]
        outside = [(values < least).sum(), (values > greatest).sum()]
        values = values[(least <= values) & (values <= greatest)]
        atoms = [(values == it).sum() for it in got["atoms"]]
        rest = values[~np.isin(values, got["atoms"])]
        # `right` is a < x <= b.
        cells = np.bincount(
            np.digitize(rest, got["edges"], right=True), minlength=len(got["edges"]) + 1
        )
        if got[name] != [*cells.tolist(), *(int(it) for it in atoms + outside)] or len(got[name]) != bins:
            failures.append(f"{case}: {name} is {got[name]}")
    check_table(case, got["table"], got["reference"], got["current"])


def check_mmd(case, got, x, y):
    both = np.vstack([x, y])
    squared = spatial.distance.cdist(both, both, "sqeuclidean")
    width = np.sqrt(np.median(squared[np.triu_indices(len(both), 1)]))
    kernel = np.exp(-squared / (2 * width**2))
    np.fill_diagonal(kernel, 0)
    n, m = len(x), len(y)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    check(case, "MMD", got["squared"], within - 2 * kernel[:n, n:].mean(), within=1e-8)
    check(case, "its width", got["width"], width)


def real():
    """Columns of scikit-learn's data sets, the first half against the second, and tables of them."""
    for name in ("iris", "wine", "breast_cancer"):
        columns = getattr(datasets, f"load_{name}")()
        half = len(columns.data) // 2
        for number, column in enumerate(columns.data.T):
            case = f"{name} {number}"
            yield check_sample, "sample", case, column[:half], column[half:], {}
            yield check_bins, "bins", case, column[:half], column[half:], {"parts": 10}
        x, y = columns.data[:half], columns.data[half:]
        dimensions = {"dimensions": x.shape[1]}
        yield check_mmd, "mmd", name, x, y, dimensions


def generated(random):
    for number in range(40):
        n, m = random.integers(1, 300, 2)
        a, b = random.normal(size=n), random.normal(random.choice([0, 0.3, 2]), 1, m)
        if number % 3 == 0:
            # Ties.
            a, b = a.round(1), b.round(1)
        if number % 7 == 0:
            a, b = np.append(a, [np.nan, np.inf]), np.append(b, [-np.inf, np.nan])
        yield check_sample, "sample", f"normal {number}", a, b, {}
        cells = random.integers(1, 12)
        shares = random.dirichlet(np.ones(cells))
        scale = 10 ** random.integers(1, 6)
        a, b = random.multinomial(scale, shares), random.multinomial(2 * scale, shares[::-1])
        yield check_table, "table", f"table {number}", a, b, {}
        skewed = np.maximum(random.normal(0, 1, 500), 0)
        moved = np.maximum(random.normal(0.2, 1, 300), 0)
        yield check_bins, "bins", f"zeros {number}", skewed, moved, {"parts": 5}
    a, b = random.normal(size=30_000), random.normal(0.01, 1, 20_000)
    yield check_sample, "sample", "many", a, b, {}


def check_expected(random):
    """Between samples of one distribution distances are on average what is expected."""
    shares, cases = np.array([0.1, 0.2, 0.3, 0.4]), 400
    pairs = [(random.multinomial(1000, shares), random.multinomial(500, shares)) for _ in range(cases)]
    answers = example.answers([line("table", a, b) for a, b in pairs])
    for name, within in (("total_variation", 0.05), ("psi", 0.1), ("psi_floor", 0.1)):
        mean = np.mean([it[name]["value"] for it in answers])
        check("unchanged", f"the mean {name}", mean, np.mean([it[name]["expected"] for it in answers]), within)
    for name in ("hellinger", "jensen_shannon"):
        mean = np.mean([it[name]["value"] ** 2 for it in answers])
        expected = np.mean([it[name]["expected"] ** 2 for it in answers])
        check("unchanged", f"the mean square of {name}", mean, expected, 0.1)
    alarms = np.mean([it["chi_square"][2] < 0.05 for it in answers])
    if alarms > 0.09:
        failures.append(f"chi-square at 5 % finds {alarms:.1%} of what did not change")


def check_cover(random):
    cases = 300
    first, second = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
    pairs = [(random.multinomial(400, first), random.multinomial(400, second)) for _ in range(cases)]
    middle = (first + second) / 2
    truth = np.sqrt((((first - middle) ** 2 + (second - middle) ** 2) / middle / 2).sum())
    v = [it["cramers_v"][0] for it in example.answers([line("table", a, b) for a, b in pairs])]
    told(v, truth, "V")
    pairs = [(random.normal(size=200), random.normal(0.5, 1, 150)) for _ in range(cases)]
    effects = [it["auc_effect"] for it in example.answers([line("sample", a, b) for a, b in pairs])]
    told(effects, stats.norm.cdf(0.5 / np.sqrt(2)), "AUC effect")


def told(estimates, truth, name):
    cover = np.mean([it["low"] <= truth <= it["high"] for it in estimates])
    if cover < 0.90:
        failures.append(f"the interval of {name} covers the truth in {cover:.1%}")


def main():
    random = np.random.default_rng(20261124)
    cases = [*real(), *generated(random)]
    answers = example.answers([line(kind, np.ravel(a), np.ravel(b), **more) for _, kind, _, a, b, more in cases])
    for (compare, _, case, a, b, _), got in zip(cases, answers, strict=True):
        compare(case, got, a, b)
    check_expected(random)
    check_cover(random)
    for failure in failures[:40]:
        print(failure)
    print(f"{len(cases)} cases, {len(failures)} differences")
    return 1 if failures else 0


sys.exit(main())
