"""Looks at the console of a real server with a real browser, Debian's Chromium.

    python tests/console/run.py --windlass target/debug/windlass [--screens FOLDER]

With `--screens` a picture of every page is written, at the width of a phone and of a desk, light and dark, for people to
look at. With `--pictures FOLDER` nothing is tested: the pictures of docs/console.md are written anew. Arguments after `--` go to pytest: `-- -k script -x`. Exit code 0 when all passed, 1 otherwise.
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
    python = install.environment("console", HERE / "requirements.txt")
    command = [python, "-m", "pytest", "-c", HERE / "pytest.ini", *(pytests or [HERE])]
    more = {
        "WINDLASS_TEST_BINARY": str(arguments.windlass.resolve()),
        "WINDLASS_TEST_CHROMIUM": str(install.chromium()),
        "WINDLASS_TEST_AXE": str(install.axe()),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if arguments.screens:
        more["WINDLASS_TEST_SCREENS"] = str(arguments.screens.resolve())
    if arguments.pictures:
        more["WINDLASS_TEST_PICTURES"] = str(arguments.pictures.resolve())
        command = [python, HERE / "pictures.py"]
    command = [str(it) for it in command]
    passed = subprocess.run(command, cwd=HERE, env={**os.environ, **more}).returncode == 0
    print(f"the console: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windlass", type=Path, required=True, help="the program to test")
    parser.add_argument("--screens", type=Path, help="where pictures of the pages go")
    parser.add_argument("--pictures", type=Path, help="where the pictures of the documentation go")
    own, pytests = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, pytests = own[:at], own[at + 1 :]
    return parser.parse_args(own), pytests


sys.exit(main())
