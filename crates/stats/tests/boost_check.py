"""Compares `examples/boost.rs` with LightGBM, scikit-learn and NannyML on the same rows.

    cargo build -p stats --example boost
    python boost_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, pandas older than 3, scikit-learn and nannyml 0.13.1, with the data sets and the LightGBM that it brings. Trees differ where bins do, so what is compared is how well they tell rows they were not fitted to. Exits non-zero where

- the error of ours exceeds LightGBM's by more than the share that is given with each data set, 1 to 5 %;
- an estimated loss of a chunk differs from NannyML's by more than the share that is given, 2 % (10 % where the reference has 4 000 rows), its sampling error by more than 1e-9 of it, or the estimates are on average farther than 1.2 times as far as NannyML's from what came true;
- the area under the domain classifier's curve differs from NannyML's by more than 0.02, or between parts of one data set is on average not within 0.01 of one half, or its intervals of 95 % leave that out more often than 10 times in 100.
"""

import os
import sys
import time
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
# On busy cores LightGBM's threads wait for one another for minutes.
os.environ["OMP_NUM_THREADS"] = "1"

import lightgbm
import nannyml
import numpy as np
import pandas as pd
from nannyml.drift.multivariate.domain_classifier.calculator import DEFAULT_LGBM_HYPERPARAMS
from sklearn import datasets, ensemble, linear_model, metrics

import example

CARS = ["car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission"]
LOANS = ["car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car", "size_of_downpayment", "driver_tenure"]
HOUSES = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
EMPLOYMENT = ["AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"]
failures = []


def columns(frame):
    """Columns as numbers, categories by the order of their names, missing as NaN."""

    def column(values):
        if not pd.api.types.is_numeric_dtype(values):
            values = pd.Categorical(values).codes
            values = np.where(values < 0, np.nan, values)
        return np.asarray(values, dtype=float)

    return np.column_stack([column(frame[it]) for it in frame.columns])


def written(matrix):
    return [[it if np.isfinite(it) else str(it) for it in column.tolist()] for column in matrix.T]


def most(case, name, got, want):
    """`got` is at most `want`."""
    if not got <= want:
        failures.append(f"{case}: {name} is {got:.6g}, more than {want:.6g}")


def held_out(case, kind, features, targets, excess):
    """Fitted to every other row, told on the rest."""
    fitted, told = slice(0, None, 2), slice(1, None, 2)
    line = {"kind": kind, "features": written(features[fitted]), "places": written(features[told])}
    started = time.monotonic()
    (answer,) = example.answers([{**line, "targets": targets[fitted].tolist()}])
    took = time.monotonic() - started
    got = np.array(answer["values"])
    # LightGBM's own check of an array asks scikit-learn for what it has no more.
    frame = pd.DataFrame(features)
    if kind == "regressor":
        light, hist = lightgbm.LGBMRegressor(), ensemble.HistGradientBoostingRegressor(early_stopping=False)
        error = lambda it: np.sqrt(np.mean((targets[told] - it) ** 2))
        predict = lambda it: it.predict(frame[told])
    else:
        light, hist = lightgbm.LGBMClassifier(), ensemble.HistGradientBoostingClassifier(early_stopping=False)
        error = lambda it: metrics.log_loss(targets[told], it)
        predict = lambda it: it.predict_proba(frame[told])[:, 1]
        if not ((got >= 0) & (got <= 1)).all():
            failures.append(f"{case}: a probability outside 0..=1")
    for model in (light, hist):
        model.fit(frame[fitted], targets[fitted])
    ours, theirs, other = error(got), error(predict(light)), error(predict(hist))
    most(case, "the error on rows not fitted", ours, theirs * (1 + excess))
    gains = light.booster_.feature_importance("gain")
    shares, wanted = np.array(answer["shares"]), gains / gains.sum()
    gap = np.abs(shares - wanted).max()
    most(case, "the greatest difference of a share of gains", gap, 0.05)
    print(f"{case}: error {ours:.5g}, LightGBM {theirs:.5g} ({ours / theirs - 1:+.2%}), scikit-learn {other:.5g}; shares within {gap:.3f}; {took:.1f} s")


def boosters():
    cars = nannyml.load_synthetic_car_price_dataset()[0]
    features = columns(cars[CARS])
    held_out("car price", "regressor", features, cars["y_true"].to_numpy(float), 0.01)
    sugar = datasets.load_diabetes()
    held_out("diabetes", "regressor", sugar.data, sugar.target, 0.05)
    loans = nannyml.load_synthetic_car_loan_dataset()[0]
    features = columns(loans[LOANS])
    held_out("car loan", "classifier", features, loans["repaid"].to_numpy(int), 0.02)
    work = nannyml.load_us_census_ma_employment_data()[0]
    features = columns(work[EMPLOYMENT])
    held_out("employment", "classifier", features, work["employed"].to_numpy(int), 0.01)
    ship = nannyml.load_titanic_dataset()[0]
    features = columns(ship[["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]])
    held_out("titanic, with missing ages", "classifier", features, ship["Survived"].to_numpy(int), 0.05)
    cells = datasets.load_breast_cancer()
    held_out("breast cancer", "classifier", cells.data, cells.target, 0.05)


def nannyml_dle(reference, chunks, names, target, predicted):
    """What NannyML estimates for each chunk, by metric: values and sampling errors."""
    estimator = nannyml.DLE(
        feature_column_names=names,
        y_pred=predicted,
        y_true=target,
        metrics=["mae", "mse", "rmse"],
        chunk_size=10**9,
    ).fit(reference.copy())
    frames = [estimator.estimate(it.copy()).filter(period="analysis").to_df() for it in chunks]
    return {
        name: np.array([[it[(name, column)].iloc[-1] for column in ("value", "sampling_error")] for it in frames])
        for name in ("mae", "mse", "rmse")
    }


def dle(case, reference, chunks, names, target, predicted, within):
    """Estimates by chunk beside NannyML's and beside what came true."""
    wanted = nannyml_dle(reference, chunks, names, target, predicted)
    # One order of categories for all.
    numbers = columns(pd.concat([reference, *chunks])[[*names, predicted, target]])
    bounds = np.cumsum([len(it) for it in (reference, *chunks)])[:-1]
    parts = np.split(numbers, bounds)
    line, *of_chunks = [{"features": written(it[:, :-2]), "values": it[:, -2].tolist()} for it in parts]
    line |= {"kind": "dle", "truths": parts[0][:, -1].tolist(), "chunks": of_chunks}
    started = time.monotonic()
    (answer,) = example.answers([line])
    took = time.monotonic() - started
    off = [it[:, -2] - it[:, -1] for it in parts[1:]]
    squares = np.array([np.mean(it**2) for it in off])
    true = {"mae": np.array([abs(it).mean() for it in off]), "mse": squares, "rmse": squares**0.5}
    for name, theirs in wanted.items():
        ours = np.array([it[name] for it in answer["chunks"]])
        apart = np.abs(ours[:, 0] / theirs[:, 0] - 1).max()
        most(case, f"the greatest relative difference from NannyML's {name}", apart, within)
        errors = np.abs(ours[:, 1] / theirs[:, 1] - 1).max()
        most(case, f"the relative difference from the sampling error of NannyML's {name}", errors, 1e-9)
        miss, miss_theirs = (np.abs(it[:, 0] - true[name]).mean() for it in (ours, theirs))
        most(case, f"how far {name} is from what came true", miss, 1.2 * miss_theirs)
        print(f"{case}: {name} off by {miss:.5g}, NannyML's by {miss_theirs:.5g}, of {true[name].mean():.5g} (changed by {np.abs(true[name] - true[name].mean()).mean():.4g}); at most {apart:.2%} from NannyML's")
    print(f"{case}: {took:.1f} s")


def pieces(frame, rows):
    return [frame.iloc[at : at + rows] for at in range(0, len(frame), rows)]


def linear(reference, analysis, names, target):
    """Both with what a linear model says that was fitted to the reference's first third, which is left out."""
    numbers = columns(pd.concat([reference, analysis])[names])
    count, rows = len(reference) // 3, len(reference)
    model = linear_model.LinearRegression().fit(numbers[:count], reference[target][:count])
    predicted = model.predict(numbers)
    reference, analysis = reference.assign(predicted=predicted[:rows]), analysis.assign(predicted=predicted[rows:])
    return reference.iloc[count:], analysis


def losses():
    reference, analysis, truths = nannyml.load_synthetic_car_price_dataset()
    chunks = pieces(analysis.merge(truths, on="id"), 6_000)
    dle("car price", reference, chunks, CARS, "y_true", "y_pred", 0.02)
    # Incomes of blocks of houses and ages of people, by linear models, whose loss depends on where they are used.
    reference, analysis, _ = nannyml.load_modified_california_housing_dataset()
    names = [it for it in HOUSES if it != "MedInc"]
    reference, analysis = linear(reference, analysis, names, "MedInc")
    dle("incomes", reference, pieces(analysis, 1_372), names, "MedInc", "predicted", 0.1)
    reference, analysis, _ = nannyml.load_us_census_ma_employment_data()
    names = [it for it in EMPLOYMENT if it != "AGEP"]
    reference, analysis = linear(reference, analysis, names, "AGEP")
    dle("ages", reference, pieces(analysis, 20_000), names, "AGEP", "predicted", 0.02)


def domain(case, reference, chunks, names):
    """The area under the curve of each chunk beside NannyML's. Rows come shuffled: NannyML holds out blocks of them."""
    reference, *chunks = [it[names].sample(frac=1, random_state=7, ignore_index=True) for it in (reference, *chunks)]
    rows = len(chunks[0])
    settings = DEFAULT_LGBM_HYPERPARAMS | {"n_jobs": 1}
    calculator = nannyml.DomainClassifierCalculator(feature_column_names=names, chunk_size=rows, hyperparameters=settings)
    calculator.fit(reference)
    theirs = calculator.calculate(pd.concat(chunks, ignore_index=True)).filter(period="analysis").to_df()
    theirs = theirs[("domain_classifier_auroc", "value")].to_numpy()
    numbers = columns(pd.concat([reference, *chunks]))
    first, *rest = np.split(numbers, np.cumsum([len(it) for it in (reference, *chunks)])[:-1])
    started = time.monotonic()
    answers = example.answers([{"kind": "domain", "reference": written(first), "current": written(it)} for it in rest])
    took = time.monotonic() - started
    ours = np.array([it["auc"] for it in answers])
    for index, (answer, auc) in enumerate(zip(answers, theirs, strict=True)):
        most(f"{case}, chunk {index}", "the difference from NannyML's area", abs(answer["auc"] - auc), 0.02)
        if answer["rows"] != [min(len(first), 20_000), min(rows, 20_000)]:
            failures.append(f"{case}, chunk {index}: {answer['rows']} rows took part")
    greatest = [names[np.argmax(it["shares"])] for it in answers]
    print(f"{case}: areas {ours.round(4).tolist()}, NannyML's {theirs.round(4).tolist()}, most by {greatest}; {took:.1f} s")


def unchanged(case, frame, names, rows):
    """Parts of one data set, by chance: about half is told right, and intervals say so."""
    numbers = columns(frame[names].sample(frac=1, random_state=8))
    parts = [numbers[at : at + rows] for at in range(0, len(numbers) - rows + 1, rows)]
    pairs = list(zip(parts[::2], parts[1::2]))
    lines = [{"kind": "domain", "reference": written(a), "current": written(b)} for a, b in pairs]
    answers = example.answers(lines)
    areas = np.array([it["auc"] for it in answers])
    cover = np.mean([it["low"] <= 0.5 <= it["high"] for it in answers])
    most(case, "how far the mean area is from one half", abs(areas.mean() - 0.5), 0.01)
    most(case, "the share of intervals without one half", 1 - cover, 0.1)
    print(f"{case}: {len(pairs)} pairs of {rows} rows, mean area {areas.mean():.4f}, intervals of 95 % cover one half in {cover:.1%}")


def domains():
    reference, analysis, _ = nannyml.load_synthetic_car_price_dataset()
    domain("car price", reference[:10_000], pieces(analysis, 5_000)[::5], CARS)
    domain("car price, many rows", reference[:30_000], pieces(analysis, 30_000)[1:], CARS)
    reference, analysis, _ = nannyml.load_synthetic_car_loan_dataset()
    domain("car loan", reference[:10_000], pieces(analysis, 5_000)[::5], LOANS)
    reference, analysis, _ = nannyml.load_modified_california_housing_dataset()
    domain("houses", reference, pieces(analysis, 2_744), HOUSES)
    reference, analysis, _ = nannyml.load_us_census_ma_employment_data()
    domain("employment", reference[:10_000], pieces(analysis, 5_000)[::21], EMPLOYMENT)
    unchanged("employment", reference, EMPLOYMENT, 500)
    unchanged("car price", nannyml.load_synthetic_car_price_dataset()[0], CARS, 500)


class Quiet:
    """What LightGBM says of every fit goes nowhere."""

    def info(self, text):
        pass

    warning = info


def main():
    warnings.filterwarnings("ignore")
    lightgbm.register_logger(Quiet())
    boosters()
    losses()
    domains()
    for failure in failures:
        print(failure)
    return 1 if failures else 0


sys.exit(main())
