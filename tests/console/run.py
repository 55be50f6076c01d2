"""Looks at the console of a real server with a real browser, Debian's Chromium.

    python tests/console/run.py --windlass target/debug/windlass [--screens FOLDER]

With `--screens` a picture of every page is written, at the width of a phone and of a desk, light and dark, for people to
look at. With `--pictures FOLDER` nothing is tested: the pictures of docs/console.md are written anew. Arguments after `--` go to pytest: `-- -k script -x`. Exit code 0 when all passed, 1 otherwise.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "clients"))

import install  # noqa: E402
import suite  # noqa: E402


def main():
    parser = suite.parser(__doc__)
    parser.add_argument("--screens", type=Path, help="where pictures of the pages go")
    parser.add_argument("--pictures", type=Path, help="where the pictures of the documentation go")
    arguments = suite.parse(parser)
    python = install.environment("console", HERE / "requirements.txt")
    environment = {
        "WINDLASS_TEST_BINARY": str(arguments.windlass.resolve()),
        "WINDLASS_TEST_CHROMIUM": str(install.chromium()),
        "WINDLASS_TEST_AXE": str(install.axe()),
    }
    if arguments.pictures:
        environment["WINDLASS_TEST_PICTURES"] = str(arguments.pictures.resolve())
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        taken = subprocess.run([python, HERE / "pictures.py"], env={**os.environ, **environment})
        return suite.told("the pictures", taken.returncode == 0)
    if arguments.screens:
        environment["WINDLASS_TEST_SCREENS"] = str(arguments.screens.resolve())
    ended = suite.run(python, HERE, arguments.pytest or [HERE], environment)
    return suite.told("the console", ended == 0)


sys.exit(main())
