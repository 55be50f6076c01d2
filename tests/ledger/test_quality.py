"""Quality is what scikit-learn says of the answers, whenever and however their labels came."""

import itertools
import random
from datetime import UTC, datetime

import onnx
import pytest
from onnx import TensorProto, helper

import expected
from credit import NOBODYS, PIPELINE, PROTOCOLS, applicants, copy, single

# Of each request: in turn one row, and several, so that ids end in `.1`, `.2` and so on.
ROWS = [1, 3, 8, 20, 40]
DAY_US = 86_400_000_000


def opposite(truth):
    return "good" if truth == "bad" else "bad"


class Book:
    """What a caller knows: its answers, and the labels that it told."""

    def __init__(self):
        self.answers, self.truths, self.homes, self.told = {}, {}, {}, {}

    def predict_all(self, server):
        """Asks about every applicant, over each protocol in turn."""
        rows, truths = applicants()
        connection, at = server.connect(), 0
        for count, protocol in zip(itertools.cycle(ROWS), itertools.cycle(PROTOCOLS)):
            if at >= len(rows):
                break
            part = slice(at, at + count)
            answer = protocol(connection, rows[part])
            about = zip(answer.rows(), rows[part], truths[part], strict=True)
            for (id, name, score), row, truth in about:
                self.answers[id] = (name, score)
                # An empty text is a missing one.
                self.truths[id], self.homes[id] = truth, row["Home"] or "(none)"
            at += count
        connection.close()

    def tell(self, server, ids, wrong=False):
        """Labels these predictions, in batches of odd sizes."""
        labels = []
        for id in ids:
            truth = self.truths[id]
            self.told[id] = opposite(truth) if wrong else truth
            labels.append({"prediction_id": id, "label": self.told[id]})
        for at in range(0, len(labels), 777):
            server.label(labels[at : at + 777])

    def rows(self, home=None):
        """Labelled rows, of a home where one is given."""
        homes = self.homes
        ids = [id for id in self.told if home is None or homes[id] == home]
        return [(*self.answers[id], self.told[id]) for id in ids]

    def check(self, server, unknown=0):
        quality = server.quality()
        assert (quality["task"], quality["positive"]) == ("binary", "bad")
        (group,) = quality["groups"]
        self.check_group(group, "all")
        counts = quality["labels"]
        known = len(self.told)
        assert (counts["named"], counts["matched"]) == (known + unknown, known), counts
        assert counts["unknown"] == unknown
        groups = server.quality(by="Home")["groups"]
        assert {it["by"]["Home"] for it in groups} == set(self.homes.values())
        for group in groups:
            self.check_group(group, group["by"]["Home"], group["by"]["Home"])

    def check_group(self, group, about, home=None):
        rows = self.rows(home)
        answered = sum(home is None or it == home for it in self.homes.values())
        assert (group["predictions"], group["failed"]) == (answered, 0), about
        assert (group["labelled"], group["skipped"]) == (len(rows), 0), about
        assert group["coverage"] == pytest.approx(len(rows) / answered)
        assert not group["approximate"]
        assert group["confusion"] == expected.confusion(rows), about
        expected.check(group["metrics"], expected.binary(rows), about)


def test_late_odd_and_corrected_labels_agree_with_scikit_learn(start):
    book, dice = Book(), random.Random(20261124)
    with start("--ledger", "commit", paths=[PIPELINE]) as server:
        book.predict_all(server)
        ids = list(book.answers)
        assert len(ids) == 4454
        dice.shuffle(ids)
        first, second = ids[:2000], ids[2000:4200]
        book.tell(server, first)
        # Nobody knows these, or not yet.
        unknown = [{"prediction_id": f"{NOBODYS}.{row}", "label": "bad"} for row in range(7)]
        server.label(unknown)
        book.check(server, unknown=7)
        server.settle()
        book.check(server, unknown=7)
        # Late, out of order; some twice, some wrong at first, some of them in files already.
        book.tell(server, second)
        book.tell(server, second[:300])
        book.tell(server, first[:200] + second[300:500], wrong=True)
        book.check(server, unknown=7)
        server.settle()
        book.tell(server, first[:150] + second[300:450])
        server.label(unknown)
        book.check(server, unknown=7)
        server.settle()
        book.check(server, unknown=7)
        by_day(server, book)
    with start("--ledger", "commit", paths=[PIPELINE]) as server:
        book.check(server, unknown=7)
        assert server.ledger()["damaged_files"] == 0


def by_day(server, book):
    """Every prediction is in the group of its day; the test may run over midnight."""
    groups = server.quality(every="1d")["groups"]
    assert sum(it["predictions"] for it in groups) == len(book.answers)
    assert sum(it["labelled"] for it in groups) == len(book.told)
    assert all(it["from_us"] % DAY_US == 0 for it in groups)
    if len(groups) == 1:
        book.check_group(groups[0], "the day")


def test_labels_by_request_and_by_key_find_their_predictions(start, tmp_path):
    model = copy(tmp_path / "credit", "ledger: {key: header:x-customer-id}")
    rows, truths = applicants()
    with start(paths=[model]) as server:
        connection, asked = server.connect(), []
        for at in range(60):
            headers = {"x-request-id": f"loan {at}", "x-customer-id": f"customer {at % 20}"}
            protocol = PROTOCOLS[at % 3]
            asked.append(protocol(connection, rows[2 * at : 2 * at + 2], headers))
        # Each row by the caller's own id; a row that is not given is row 0.
        by_request = [{"request_id": f"loan {at}", "label": truths[2 * at]} for at in range(30)]
        by_request += [
            {"request_id": f"loan {at}", "row": 1, "label": truths[2 * at + 1]} for at in range(30)
        ]
        server.label([*by_request, {"request_id": "nobody's", "label": "bad"}])
        rows_told = labelled(asked, truths, range(30))
        check_text(server, rows_told, told=61)
        server.settle()
        check_text(server, rows_told, told=61)

        # A key's window decides which of a customer's three answers the label is of: here all made
        # from the 40th request on.
        (moment,) = server.query(
            "select min(time) from credit where request_id = 'loan 40' and key = 'customer 0'"
        )
        by_key = [{"key": f"customer {at}", "label": "bad", "from": moment[0]} for at in range(20)]
        server.label([*by_key, {"key": "nobody", "label": "good", "from": moment[0]}])
        rows_told += [
            (name, score, "bad") for answer in asked[40:] for _, name, score in answer.rows()
        ]
        check_text(server, rows_told, told=82)
        server.settle()
        check_text(server, rows_told, told=82)

        # Before the window's end none was made: nothing changes.
        ancient = {"from": "2020-01-01", "to": "2020-01-02"}
        server.label([{"key": "customer 0", "label": "good", **ancient}])
        check_text(server, rows_told, told=83)
        stories = {it["by"] for at in (0, 45) for it in story(server, asked[at])["labels"]}
        assert stories == {"request_id", "key"}
    with start(paths=[model]) as server:
        check_text(server, rows_told, told=83)


def labelled(asked, truths, requests):
    return [
        (name, score, truths[2 * at + row])
        for at in requests
        for row, (_, name, score) in enumerate(asked[at].rows())
    ]


def check_text(server, rows, told):
    quality = server.quality()
    (group,) = quality["groups"]
    assert group["labelled"] == len(rows)
    assert group["confusion"] == expected.confusion(rows)
    expected.check(group["metrics"], expected.binary(rows), "by text")
    counts = quality["labels"]
    assert (counts["by_text"], counts["by_text_matched"]) == (told, len(rows)), counts
    # SQL joins them on its own.
    ((right, joined),) = server.query(
        "select count(*) filter (where class = label), count(label) from credit"
    )
    assert (right, joined) == (sum(name == truth for name, _, truth in rows), len(rows))


def story(server, answer):
    status, told = server.ask_json("GET", f"/api/v1/predictions/{answer.id}")
    assert status == 200, told
    return told


def test_of_several_labels_the_one_that_came_last_holds(start):
    """Before sealing and after it, whatever the labels say of their own time."""
    rows, _ = applicants()
    with start(paths=[PIPELINE]) as server:
        answer = server.predict(rows[:1])
        for number, label in enumerate(["bad", "good", "bad", "good"], 1):
            at = datetime.fromtimestamp(1_795_500_000 - number, UTC).isoformat()
            server.label([{"prediction_id": answer.id, "label": label, "at": at}])
            assert server.query("select label, labels from credit") == [[label, number]]
            told = story(server, answer)
            assert told["labels"][0]["label"] == label
            assert len(told["labels"]) == number
            if number % 2:
                assert server.settle()["segments_waiting"] == 0


def identity(folder, task, width):
    """A model that answers what it is asked: the test chooses the scores."""
    folder.mkdir()
    shape = [None, width]
    tensors = [
        helper.make_tensor_value_info(it, TensorProto.FLOAT, shape) for it in ("asked", "told")
    ]
    node = helper.make_node("Identity", ["asked"], ["told"])
    graph = helper.make_graph([node], "identity", tensors[:1], tensors[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx")
    (folder / "windlass.yaml").write_text(
        f"model: {folder.name}\nsource: ./model.onnx\ntask: {task}\n"
    )
    return folder


def send(server, model, rows):
    """Ids of the rows of one request to a model of the identity."""
    data = [it for row in rows for it in row]
    shape = [len(rows), len(rows[0])]
    tensor = {"name": "asked", "shape": shape, "datatype": "FP32", "data": data}
    status, answer = server.ask_json("POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
    assert status == 200, answer
    return [f"{answer['parameters']['prediction_id']}.{row}" for row in range(len(rows))]


def test_several_classes_agree_with_scikit_learn(start, tmp_path):
    classes = ["low", "middle", "high"]
    task = "{type: multiclass, classes: [low, middle, high], scores: told}"
    model = identity(tmp_path / "risk", task, 3)
    dice = random.Random(3)
    with start(paths=[model]) as server:
        rows = []
        for _ in range(500):
            parts = [dice.gammavariate(0.7, 1) + 1e-3 for _ in classes]
            rows.append([single(it / sum(parts)) for it in parts])
        truths = [dice.choices(classes, row)[0] for row in rows]
        ids = send(server, "risk", rows)
        labels = [{"prediction_id": id, "label": it} for id, it in zip(ids, truths, strict=True)]
        server.label(labels, model="risk")
        want = expected.multiclass(classes, rows, truths)
        for _ in range(2):
            quality = server.quality("risk")
            assert quality["task"] == "multiclass"
            (group,) = quality["groups"]
            assert (group["labelled"], group["skipped"]) == (500, 0)
            expected.check(group["metrics"], want, "three classes")
            server.settle()


def test_numbers_agree_with_scikit_learn(start, tmp_path):
    model = identity(tmp_path / "price", "{type: regression, value: told}", 1)
    dice = random.Random(4)
    with start(paths=[model]) as server:
        values = [single(dice.gauss(100, 30)) for _ in range(500)]
        truths = [round(it + dice.gauss(1, 10), 3) for it in values]
        ids = send(server, "price", [[it] for it in values])
        labels = [{"prediction_id": id, "label": it} for id, it in zip(ids, truths, strict=True)]
        server.label(labels, model="price")
        want = expected.regression(values, truths)
        for _ in range(2):
            quality = server.quality("price")
            assert quality["task"] == "regression"
            (group,) = quality["groups"]
            assert (group["labelled"], group["skipped"]) == (500, 0)
            expected.check(group["metrics"], want, "numbers")
            server.settle()


def test_refused_requests_are_rows_and_not_answers(start):
    rows, _ = applicants()
    with start(paths=[PIPELINE]) as server:
        server.predict(rows[:3])
        body = {
            "inputs": [{"name": "Home", "shape": [1, 1], "datatype": "BYTES", "data": ["rent"]}]
        }
        for _ in range(4):
            status, answer = server.ask_json("POST", "/v2/models/credit/infer", body)
            assert status == 400, answer
        assert server.query("select count(*) from credit") == [[7]]
        (group,) = server.quality()["groups"]
        assert (group["predictions"], group["failed"]) == (3, 4)
        assert server.query("select distinct code from credit where code is not null") == [
            ["missing_input"]
        ]
