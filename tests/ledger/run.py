"""Drives the prediction ledger of a real server: labels, questions, kills, flipped bytes; and what watches it.

    python tests/ledger/run.py --windlass target/debug/windlass [--kills 200]

Arguments after `--` go to pytest: `-- -k torn -x`. Exit code 0 when all passed, 1 otherwise.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "clients"))

import install  # noqa: E402


def main():
    arguments, pytests = parse()
    python = install.environment("ledger", HERE / "requirements.txt")
    alertmanager, promtool = install.alertmanager(), install.promtool()
    command = [python, "-m", "pytest", "-c", HERE / "pytest.ini", *(pytests or [HERE])]
    more = {
        "WINDLASS_TEST_BINARY": str(arguments.windlass.resolve()),
        "WINDLASS_TEST_KILLS": str(arguments.kills),
        "WINDLASS_TEST_ALERTMANAGER": str(alertmanager),
        "WINDLASS_TEST_PROMTOOL": str(promtool),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [str(it) for it in command]
    passed = subprocess.run(command, cwd=HERE, env={**os.environ, **more}).returncode == 0
    print(f"the ledger: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windlass", type=Path, required=True, help="the program to test")
    parser.add_argument("--kills", type=int, default=200, help="how often a server is killed")
    own, pytests = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, pytests = own[:at], own[at + 1 :]
    return parser.parse_args(own), pytests


sys.exit(main())
