"""What the runners of all suites have in common: their arguments, and pytest in a suite's own environment."""

import argparse
import os
import subprocess
import sys
from pathlib import Path


def parser(about):
    """With the program to test; a runner adds what else it is told."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windlass", type=Path, required=True, help="the program to test")
    return parser


def parse(parser):
    """What a runner was told; what follows `--` is `pytest` of it."""
    own, pytests = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, pytests = own[:at], own[at + 1 :]
    arguments = parser.parse_args(own)
    arguments.pytest = pytests
    return arguments


def run(python, folder, arguments, environment):
    """Pytest with what its tests find in their environment; its exit code."""
    command = [python, "-m", "pytest", "-c", folder / "pytest.ini", *arguments]
    more = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(it) for it in command]
    return subprocess.run(command, cwd=folder, env={**os.environ, **more}).returncode


def told(name, passed):
    """Says how a suite ended; the exit code for it."""
    print(f"{name}: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1
