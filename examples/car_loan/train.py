"""Trains the three versions of car_loan, and writes them as ONNX and the rows that they are asked.

v1/  learned from the reference period
v2/  learned from the drifted period, with one mistake: the loan's length was read in years
v3/  the same without the mistake
stream/  rows of both periods that no version learned from, with what turned out to be true

The data are nannyml's synthetic car loans (see README.md); `--data` names the folder with its
files. The same data, seed, package versions and kind of processor give the same files.
"""

import argparse
import json
from pathlib import Path

import lightgbm
import numpy
import onnxruntime
import pandas
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.compose import ColumnTransformer
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

HERE = Path(__file__).parent
NUMBERS = [
    "car_value",
    "debt_to_income_ratio",
    "loan_length",
    "driver_tenure",
    "repaid_loan_on_prev_car",
]
CATEGORIES = {
    "salary_range": ["0 - 20K €", "20K - 40K €", "40K - 60K €", "60K+ €"],
    "size_of_downpayment": [f"{share}%" for share in range(0, 101, 10)],
}
FEATURES = NUMBERS + list(CATEGORIES)
OPSETS = {"": 18, "ai.onnx.ml": 3}
DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}
# The analysis period drifts from its middle on.
DRIFT_FROM = 25_000
# Rows that no version learned from: the end of either period.
REFERENCE_ROWS, DRIFTED_ROWS = 24_000, 15_000


def read(folder):
    """The reference period and the one that drifted, in their order, with the truth in `repaid`."""
    def rows(name):
        return pandas.read_csv(folder / f"synthetic_car_loan_{name}.csv")

    reference = rows("reference")
    analysis = rows("analysis").merge(rows("analysis_target"), on="id")
    drifted = analysis.iloc[DRIFT_FROM:]
    return [part[[*FEATURES, "repaid"]].copy() for part in (reference, drifted)]


def columns(frame):
    """The models' inputs: float32, and a string for each category."""
    return frame[FEATURES].astype({name: "float32" for name in NUMBERS})


def train(frame, iterations, leaves, seed):
    spread = OrdinalEncoder(
        categories=list(CATEGORIES.values()), handle_unknown="use_encoded_value", unknown_value=-1
    )
    prepare = ColumnTransformer(
        [("keep", "passthrough", NUMBERS), ("code", spread, list(CATEGORIES))]
    )
    trees = lightgbm.LGBMClassifier(
        n_estimators=iterations,
        num_leaves=leaves,
        learning_rate=0.2,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )
    classes = numpy.where(frame["repaid"] > 0.5, "repaid", "defaulted")
    return make_pipeline(prepare, trees).fit(columns(frame), classes)


def export(model):
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    inputs = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    inputs += [(name, StringTensorType([None, 1])) for name in CATEGORIES]
    options = {id(model): {"zipmap": False}}
    converted = convert_sklearn(model, "car_loan", inputs, target_opset=OPSETS, options=options)
    # Listed in the order of a hash, which changes from run to run; the file should not.
    converted.opset_import.sort(key=lambda opset: opset.domain)
    return converted


def feeds(frame):
    typed = columns(frame)
    kinds = {name: object if name in CATEGORIES else numpy.float32 for name in FEATURES}
    return {name: typed[[name]].to_numpy(kind) for name, kind in kinds.items()}


def verify(name, session, model, frame):
    """Holds ONNX Runtime's answers against the training library's own."""
    label, scores = session.run(["label", "probabilities"], feeds(frame))
    difference = numpy.abs(scores - model.predict_proba(columns(frame))).max(axis=1)
    # Thresholds are doubles in the training library and floats in ONNX: a value that lies on one
    # may go the other way.
    others = int((difference > 1e-5).sum())
    print(f"{name}: ONNX against native, {len(frame)} rows: {others} answered otherwise")
    assert others <= len(frame) // 1000, "ONNX answers otherwise than its origin"


def report(name, session, parts):
    calibrated = None
    for period, frame in parts.items():
        truth = frame["repaid"] > 0.5
        _, scores = session.run(["label", "probabilities"], feeds(frame))
        score, called = scores[:, 1], scores[:, 1] >= 0.5
        calibrated = calibrated or IsotonicRegression(out_of_bounds="clip").fit(score, truth)
        estimate = calibrated.predict(score)[called].mean()
        print(
            f"{name}, {period}: precision {precision_score(truth, called):.3f} "
            f"(estimated from scores {estimate:.3f}), "
            f"accuracy {accuracy_score(truth, called):.3f}, "
            f"recall {recall_score(truth, called):.3f}, ROC AUC {roc_auc_score(truth, score):.3f}"
        )


def tensor(name, array):
    """A tensor in Open Inference Protocol JSON."""

    def plain(value):
        return value if isinstance(value, str) else json.loads(str(value))

    datatype, data = DATATYPES[array.dtype.name], [plain(value) for value in array.reshape(-1)]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def write_examples(path, session, feeds):
    def lines(arrays):
        shown = (json.dumps(tensor(*it), ensure_ascii=False) for it in arrays)
        return ",\n".join("    " + it for it in shown)

    names = ["label", "probabilities"]
    inputs, outputs = lines(feeds.items()), lines(zip(names, session.run(names, feeds)))
    path.write_text(f'{{\n  "inputs": [\n{inputs}\n  ],\n  "outputs": [\n{outputs}\n  ]\n}}\n')


def write_stream(path, frame):
    # Numbers as the models take them: what is asked is what was written, to the last bit.
    rows = columns(frame)
    rows["label"] = numpy.where(frame["repaid"] > 0.5, "repaid", "defaulted")
    rows.to_parquet(path, index=False, compression="zstd", compression_level=19)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with nannyml's synthetic_car_loan_*.csv")
    add("--out", type=Path, default=HERE, help="folder that gets v1/, v2/, v3/ and stream/")
    add("--seed", type=int, default=2024, help="decides the trainings")
    args = parser.parse_args()

    reference, drifted = read(args.data)
    learned, asked = reference.iloc[:-REFERENCE_ROWS], reference.iloc[-REFERENCE_ROWS:]
    later, asked_later = drifted.iloc[:-DRIFTED_ROWS], drifted.iloc[-DRIFTED_ROWS:]
    # The mistake of version 2: months read as years.
    mistaken = later.assign(loan_length=later["loan_length"] / 12)
    print(f"{len(learned)} rows of the reference period train, {len(later)} of the drifted one")
    for name, frame, iterations, leaves in [
        ("v1", learned, 50, 8),
        ("v2", mistaken, 80, 16),
        ("v3", later, 80, 16),
    ]:
        model = train(frame, iterations, leaves, args.seed)
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(export(model).SerializeToString())
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        verify(name, session, model, pandas.concat([asked, asked_later]))
        report(name, session, {"reference": asked, "drifted": asked_later})
        write_examples(folder / "examples.json", session, feeds(asked.head(20)))
    stream = args.out / "stream"
    stream.mkdir(exist_ok=True)
    write_stream(stream / "reference.parquet", asked)
    write_stream(stream / "drifted.parquet", asked_later)


if __name__ == "__main__":
    main()
