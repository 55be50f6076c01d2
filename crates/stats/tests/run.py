"""Compares the numerics of this crate with the packages whose definitions they are.

    python3 crates/stats/tests/run.py [NAME ...]

Each `NAME_check.py` runs `examples/NAME.rs`. The first run installs `requirements.txt` under the user's cache folder. Exit code 0 when all that were run agree, 1 otherwise.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.append(str(ROOT / "tests" / "clients"))

import install  # noqa: E402


def main():
    known = sorted(it.name.removesuffix("_check.py") for it in HERE.glob("*_check.py"))
    names = sys.argv[1:] or known
    if unknown := [it for it in names if it not in known]:
        raise SystemExit(f"no check of {', '.join(unknown)}; there are {', '.join(known)}")
    python = install.environment("stats", HERE / "requirements.txt")
    build = ["cargo", "build", "--quiet", "-p", "stats", "--examples"]
    subprocess.run(build, cwd=ROOT, check=True)
    examples = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples"
    # No package asks its maker anything while it is compared.
    quiet = {"NML_DISABLE_USAGE_LOGGING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    passed = {}
    for name in names:
        command = [python, HERE / f"{name}_check.py", examples / name]
        done = subprocess.run([str(it) for it in command], env={**os.environ, **quiet})
        passed[name] = done.returncode == 0
    for name, well in passed.items():
        print(f"{name}: {'passed' if well else 'FAILED'}")
    return 0 if all(passed.values()) else 1


sys.exit(main())
