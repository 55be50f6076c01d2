"""Quality estimated without truths, by the crate `stats` and by NannyML, beside the real one, chunk by chunk."""

import dataclasses
import json
import subprocess
import warnings
from dataclasses import dataclass

import numpy as np

import install
import tables

CHUNK = 5_000
METRICS = {"roc_auc": "ROC AUC", "accuracy": "accuracy"}


@dataclass
class Compared:
    """One metric of one table, chunk by chunk."""

    table: str
    metric: str
    realised: list
    own: list
    nannyml: list
    low: list
    """Chunks whose real value is below the reference's by more than three standard errors."""
    own_low: list
    """The same of what `stats` estimates."""
    alarms: list
    """Chunks where NannyML alarms for the real value, by its own thresholds."""
    nannyml_alarms: list
    """Where it does for what it estimates."""

    def numbers(self):
        return dataclasses.asdict(self)

    def error(self, estimated):
        return float(np.abs(np.subtract(estimated, self.realised)).mean())


def compared(example):
    """Needs the built example `estimate`."""
    import nannyml

    warnings.filterwarnings("ignore")
    car = nannyml.load_synthetic_car_loan_dataset()
    census = nannyml.load_us_census_ma_employment_data()
    return [
        *of_table(
            "car loan (synthetic)",
            example,
            *joined(*car, "id", "repaid"),
            "y_pred_proba",
            "y_pred",
            "repaid",
        ),
        *of_table(
            "census, employment",
            example,
            *joined(*census, "id", "employed"),
            "predicted_probability",
            "prediction",
            "employed",
        ),
    ]


def joined(reference, analysis, truths, key, truth):
    """The reference, and the rest with its truths."""
    if key in analysis and key in truths:
        return reference, analysis.merge(truths[[key, truth]], on=key)
    return reference, analysis.assign(**{truth: truths[truth].to_numpy()})


def of_table(name, example, reference, analysis, score, predicted, truth):
    install.say(f"estimates: {name}")
    frames = [reference, analysis]
    for frame in frames:
        frame[truth] = frame[truth].astype(int)
    own = cbpe(example, *frames, score, predicted, truth)
    estimated = nannyml_estimates(*frames, score, predicted, truth)
    real = nannyml_realised(*frames, score, predicted, truth)
    found = []
    for metric in METRICS:
        expected = realised_at_reference(metric, reference, score, predicted, truth)
        values = [it["estimated"][metric] for it in own]
        # What a chunk of so many rows may lie below the reference by chance.
        bounds = [expected - 3 * it["errors"][metric] for it in own]
        realised = real[(metric, "value")].tolist()
        found.append(
            Compared(
                table=name,
                metric=metric,
                realised=realised,
                own=values,
                nannyml=estimated[(metric, "value")].tolist(),
                low=chunks_where(np.less(realised, bounds)),
                own_low=chunks_where(np.less(values, bounds)),
                alarms=chunks_where(real[(metric, "alert")]),
                nannyml_alarms=chunks_where(estimated[(metric, "alert")]),
            )
        )
    return found


def chunks_where(flags):
    return [at for at, flag in enumerate(flags) if flag]


def cbpe(example, reference, analysis, score, predicted, truth):
    lines = [{"kind": "cbpe"}]
    for frame, chunked in ((reference, False), (analysis, True)):
        columns = (frame[it].tolist() for it in (score, predicted, truth))
        for at, (value, said, true) in enumerate(zip(*columns)):
            more = {"chunk": at // CHUNK} if chunked else {"truth": true}
            lines.append({"score": value, "predicted": int(said), **more})
    text = "\n".join(json.dumps(it) for it in lines)
    done = subprocess.run([str(example)], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["chunks"]


def told_nannyml(score, predicted, truth):
    return {
        "y_pred_proba": score,
        "y_pred": predicted,
        "y_true": truth,
        "metrics": list(METRICS),
        "chunk_size": CHUNK,
        "problem_type": "classification_binary",
    }


def nannyml_estimates(reference, analysis, *names):
    import nannyml

    estimator = nannyml.CBPE(**told_nannyml(*names)).fit(reference)
    return estimator.estimate(analysis).filter(period="analysis").to_df()


def nannyml_realised(reference, analysis, *names):
    import nannyml

    calculator = nannyml.PerformanceCalculator(**told_nannyml(*names)).fit(reference)
    return calculator.calculate(analysis).filter(period="analysis").to_df()


def realised_at_reference(metric, reference, score, predicted, truth):
    from sklearn import metrics

    if metric == "accuracy":
        return float((reference[predicted] == reference[truth]).mean())
    return float(metrics.roc_auc_score(reference[truth], reference[score]))


def table(found):
    head = ["table", "metric", "chunks", "mean error, `stats`", "mean error, NannyML"]
    head += ["low in truth", "`stats` says low", "NannyML alarms for the truth", "for its estimate"]
    rows = [
        [
            it.table,
            METRICS[it.metric],
            str(len(it.realised)),
            f"{it.error(it.own):.5f}",
            f"{it.error(it.nannyml):.5f}",
            *(listed(each) for each in (it.low, it.own_low, it.alarms, it.nannyml_alarms)),
        ]
        for it in found
    ]
    return tables.table(head, rows)


def listed(chunks):
    return ", ".join(str(it) for it in chunks) or "none"


def chunks_table(found):
    head = ["chunk", "real", "`stats`", "NannyML"]
    rows = [
        [str(at), *(f"{it:.4f}" for it in values)]
        for at, values in enumerate(zip(found.realised, found.own, found.nannyml))
    ]
    return f"{METRICS[found.metric]} of the {found.table}:\n\n" + tables.table(head, rows)
