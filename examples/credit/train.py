"""Trains two models of credit risk and writes them as ONNX, each with examples of its answers.

pipeline/  a scikit-learn pipeline: impute, scale, one-hot, logistic regression; an input a column
lightgbm/  gradient boosted trees over one float matrix; categories as codes

A missing number is NaN (empty in CSV, null in JSON); a missing category is the empty string, and
NaN where categories are codes. The same data, seed, package versions and kind of processor give
the same files.
"""

import argparse
import json
from pathlib import Path

import lightgbm
import numpy
import onnxruntime
import pandas
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as MatrixType
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
NUMBERS = ["Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price"]
# A category's code in the LightGBM matrix is its place in its list. The lists are part of the
# model: new names go at the end, and a name that is not here counts as missing.
CATEGORIES = {
    "Home": ["ignore", "other", "owner", "parents", "priv", "rent"],
    "Marital": ["divorced", "married", "separated", "single", "widow"],
    "Records": ["no", "yes"],
    "Job": ["fixed", "freelance", "others", "partime"],
}
FEATURES = NUMBERS + list(CATEGORIES)
OPSETS = {"": 18, "ai.onnx.ml": 3}
DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}


def read(path):
    """Applicants, one a row; numbers as integers that may be missing, to print as they came."""
    kinds = {name: "Int64" for name in NUMBERS} | {name: str for name in ["Status", *CATEGORIES]}
    empty = {name: [""] for name in NUMBERS}
    frame = pandas.read_csv(path, dtype=kinds, keep_default_na=False, na_values=empty)
    return frame[["Status", *FEATURES]]


def columns(frame):
    """The pipeline's inputs: float32 with NaN for a missing number, a string for each category."""
    return frame[FEATURES].astype({name: "float32" for name in NUMBERS})


def codes(frame):
    """The same features with every category as its code, missing where it has none."""
    encoded = frame[FEATURES].copy()
    for name, names in CATEGORIES.items():
        places = {value: place for place, value in enumerate(names)}
        encoded[name] = frame[name].map(places).astype("Int64")
    return encoded


def matrix(frame):
    """LightGBM's input: float32 [rows, 13]."""
    return codes(frame).astype("float32").to_numpy()


def train_pipeline(train, seed):
    fill = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    # A category that is missing or unknown becomes all zeros: it has no say in the score.
    spread = OneHotEncoder(
        categories=list(CATEGORIES.values()), handle_unknown="ignore", sparse_output=False
    )
    prepare = ColumnTransformer([("fill", fill, NUMBERS), ("spread", spread, list(CATEGORIES))])
    model = make_pipeline(prepare, LogisticRegression(max_iter=2000, random_state=seed))
    return model.fit(columns(train), train["Status"])


def train_lightgbm(train, seed):
    model = lightgbm.LGBMClassifier(
        n_estimators=150,
        num_leaves=8,
        learning_rate=0.06,
        min_child_samples=30,
        reg_lambda=5.0,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )
    bad = (train["Status"] == "bad").astype(int)
    return model.fit(matrix(train), bad, feature_name=FEATURES)


def export_pipeline(model):
    inputs = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    inputs += [(name, StringTensorType([None, 1])) for name in CATEGORIES]
    options = {id(model): {"zipmap": False}}
    converted = convert_sklearn(model, "credit", inputs, target_opset=OPSETS, options=options)
    # Listed in the order of a hash, which changes from run to run; the file should not.
    converted.opset_import.sort(key=lambda opset: opset.domain)
    return converted


def export_lightgbm(model):
    inputs = [("features", MatrixType([None, len(FEATURES)]))]
    converted = convert_lightgbm(model, "credit-lightgbm", inputs, target_opset=15, zipmap=False)
    # The converter declares one label whatever the number of rows; there is one for each row.
    converted.graph.output[0].type.tensor_type.shape.dim[0].Clear()
    return converted


def feeds_pipeline(frame):
    typed = columns(frame)
    kinds = {name: object if name in CATEGORIES else numpy.float32 for name in FEATURES}
    return {name: typed[[name]].to_numpy(kind) for name, kind in kinds.items()}


def feeds_lightgbm(frame):
    return {"features": matrix(frame)}


def answers_pipeline(model, frame):
    return model.predict(columns(frame)), model.predict_proba(columns(frame))


def answers_lightgbm(model, frame):
    scores = model.booster_.predict(matrix(frame), num_threads=1)
    return (scores > 0.5).astype(numpy.int64), numpy.column_stack([1 - scores, scores])


def with_gaps(frame):
    """Every row as it is, and once more for each feature with that feature missing."""

    def without(name):
        missing = "" if name in CATEGORIES else None
        return frame.assign(**{name: pandas.Series(missing, frame.index, frame[name].dtype)})

    return pandas.concat([frame, *map(without, FEATURES)])


def verify(name, session, feeds, label, scores):
    """Holds ONNX Runtime's answers against the training library's own."""
    onnx_label, onnx_scores = session.run(["label", "probabilities"], feeds)
    mismatches = int((onnx_label != label).sum())
    difference = float(numpy.abs(onnx_scores - scores).max())
    print(
        f"{name}: ONNX against native, {len(label)} rows: {mismatches} labels differ, "
        f"largest difference of a probability {difference:.1e}"
    )
    assert mismatches == 0 and difference < 1e-5, "ONNX answers otherwise than its origin"


def report(name, test, bad_score):
    truth, refused = test["Status"] == "bad", bad_score > 0.5
    accuracy, area = accuracy_score(truth, refused), roc_auc_score(truth, bad_score)
    found = recall_score(truth, refused)
    print(f"{name}: accuracy {accuracy:.3f}, ROC AUC {area:.3f}, finds {found:.3f} of the bad")
    groups = {
        "age under 30": test["Age"] < 30,
        "age 30 and over": test["Age"] >= 30,
        "married": test["Marital"] == "married",
        "not married": test["Marital"] != "married",
    }
    for group, member in groups.items():
        print(
            f"  {group}: {member.sum()} people, {truth[member].mean():.3f} bad, "
            f"{refused[member].mean():.3f} called bad, "
            f"{refused[member & ~truth].mean():.3f} of the good called bad"
        )


def tensor(name, array):
    """A tensor in Open Inference Protocol JSON. JSON has no NaN: null stands for it."""

    def plain(value):
        if isinstance(value, str):
            return value
        # By way of text, for the shortest digits that give the same float32 again.
        return None if numpy.isnan(value) else json.loads(str(value))

    datatype, data = DATATYPES[array.dtype.name], [plain(value) for value in array.reshape(-1)]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def write_examples(path, session, feeds):
    def lines(arrays):
        return ",\n".join("    " + json.dumps(tensor(name, array)) for name, array in arrays)

    names = ["label", "probabilities"]
    inputs, outputs = lines(feeds.items()), lines(zip(names, session.run(names, feeds)))
    path.write_text(f'{{\n  "inputs": [\n{inputs}\n  ],\n  "outputs": [\n{outputs}\n  ]\n}}\n')


def write_rows(out, rows):
    """The same rows for both models; the pipeline's in three formats."""
    raw = rows[FEATURES]
    raw.to_csv(out / "pipeline/rows.csv", index=False)
    raw.to_json(out / "pipeline/rows.jsonl", orient="records", lines=True)
    columns(rows).to_parquet(out / "pipeline/rows.parquet", index=False)
    codes(rows).to_csv(out / "lightgbm/rows.csv", index=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=HERE / "data/credit.csv", help="applicants and their Status")
    add("--out", type=Path, default=HERE, help="folder that gets pipeline/ and lightgbm/")
    add("--seed", type=int, default=2024, help="decides the split and both trainings")
    args = parser.parse_args()

    data = read(args.data)
    train, test = train_test_split(
        data, test_size=0.25, stratify=data["Status"], random_state=args.seed
    )
    good = (test["Status"] == "good").mean()
    print(f"{len(train)} rows train, {len(test)} test; always answering good is right {good:.3f}")

    # Rows to try: ten with something missing (categories first, they are rare), forty complete.
    no_category = (test[list(CATEGORIES)] == "").any(axis=1)
    no_number = test[NUMBERS].isna().any(axis=1)
    gaps = pandas.concat([test[no_category], test[no_number & ~no_category]])
    rows = pandas.concat([gaps.head(10), test[~no_number & ~no_category].head(40)])

    checked = with_gaps(test)
    for name, fit, export, feeds, answers, bad_column in [
        ("pipeline", train_pipeline, export_pipeline, feeds_pipeline, answers_pipeline, 0),
        ("lightgbm", train_lightgbm, export_lightgbm, feeds_lightgbm, answers_lightgbm, 1),
    ]:
        model = fit(train, args.seed)
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(export(model).SerializeToString())
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        verify(name, session, feeds(checked), *answers(model, checked))
        report(name, test, answers(model, test)[1][:, bad_column])
        write_examples(folder / "examples.json", session, feeds(rows.head(20)))
    write_rows(args.out, rows)


if __name__ == "__main__":
    main()
