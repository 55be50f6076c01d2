"""Compares `examples/boost.rs` with LightGBM and scikit-learn on the same rows.

    cargo build -p stats --example boost
    python boost_check.py PATH_TO_EXAMPLE_BINARY

Needs numpy, pandas older than 3, scikit-learn and nannyml 0.13.1, with the data sets and the LightGBM that it brings. Trees differ where bins do, so what is compared is how well they tell rows they were not fitted to. Exits non-zero where the error of ours exceeds LightGBM's by more than the share that is given with each data set.
"""

import os
import sys
import time
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import lightgbm
import nannyml
import numpy as np
import pandas as pd
from sklearn import datasets, ensemble, metrics

import example

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
    for model in (light.set_params(verbose=-1), hist):
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
    features = columns(cars.drop(columns=["id", "timestamp", "y_true", "y_pred"], errors="ignore"))
    held_out("car price", "regressor", features, cars["y_true"].to_numpy(float), 0.01)
    sugar = datasets.load_diabetes()
    held_out("diabetes", "regressor", sugar.data, sugar.target, 0.05)
    loans = nannyml.load_synthetic_car_loan_dataset()[0]
    features = columns(loans.drop(columns=["id", "timestamp", "repaid", "y_pred", "y_pred_proba"], errors="ignore"))
    held_out("car loan", "classifier", features, loans["repaid"].to_numpy(int), 0.02)
    work = nannyml.load_us_census_ma_employment_data()[0]
    features = columns(work.drop(columns=["id", "year", "employed", "prediction", "predicted_probability"], errors="ignore"))
    held_out("employment", "classifier", features, work["employed"].to_numpy(int), 0.01)
    ship = nannyml.load_titanic_dataset()[0]
    features = columns(ship[["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]])
    held_out("titanic, with missing ages", "classifier", features, ship["Survived"].to_numpy(int), 0.05)
    cells = datasets.load_breast_cancer()
    held_out("breast cancer", "classifier", cells.data, cells.target, 0.05)


def main():
    warnings.filterwarnings("ignore")
    boosters()
    for failure in failures:
        print(failure)
    return 1 if failures else 0


sys.exit(main())
