"""Drives the prediction ledger of a real server: labels, questions, kills, flipped bytes; and what watches it.

    python tests/ledger/run.py --windlass target/debug/windlass [--kills 200]

Arguments after `--` go to pytest: `-- -k torn -x`. Exit code 0 when all passed, 1 otherwise.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "clients"))

import install  # noqa: E402
import suite  # noqa: E402


def main():
    parser = suite.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often a server is killed")
    arguments = suite.parse(parser)
    python = install.environment("ledger", HERE / "requirements.txt")
    environment = {
        "WINDLASS_TEST_BINARY": str(arguments.windlass.resolve()),
        "WINDLASS_TEST_KILLS": str(arguments.kills),
        "WINDLASS_TEST_ALERTMANAGER": str(install.alertmanager()),
        "WINDLASS_TEST_PROMTOOL": str(install.promtool()),
    }
    ended = suite.run(python, HERE, arguments.pytest or [HERE], environment)
    return suite.told("the ledger", ended == 0)


sys.exit(main())
