"""How a peer is asked which columns drifted: what its `drift.py` has in common with the others'."""

import json
import sys


def answer(drifted):
    """Answers one question with `--once REFERENCE CURRENT`, else every line of standard input.

    A line is `{"reference": FILE, "current": FILE, "columns": [NAME] or null}`; its answer `{"drifted": [NAME]}`.
    """
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps({"drifted": drifted(*sys.argv[2:4], None)}))
        return
    for line in sys.stdin:
        question = json.loads(line)
        found = drifted(question["reference"], question["current"], question["columns"])
        print(json.dumps({"drifted": found}), flush=True)
