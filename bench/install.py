"""What a measurement needs, put in place once: environments, wrk, binaries, models.

Everything lies under the user's cache folder. A second run finds it and installs nothing.
"""

import datetime
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
FIXTURES = ROOT / "xtask" / "fixtures"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windlass" / "bench"


def say(text):
    print(text, file=sys.stderr, flush=True)


def keep(name, results):
    """Every single measurement, for those who doubt a median or a share."""
    folder = CACHE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{datetime.datetime.now():%Y-%m-%dT%H%M%S}.json"
    path.write_text(json.dumps(results, indent=1))
    say(f"kept {path}")


def run(command, **more):
    """Runs it with its output on our stderr: stdout is for the tables."""
    subprocess.run([str(it) for it in command], check=True, stdout=sys.stderr, **more)


def client():
    """The environment of the client and of the engine alone; it also makes the models."""
    return environment("client", FIXTURES / "requirements.txt")


def within(python, *flags):
    """Goes on in that Python: what is left needs packages that this one may lack."""
    if Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), *flags, *sys.argv])


def until_stopped(measure, *arguments):
    """Measures; a polite kill cleans up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure(*arguments)
    except KeyboardInterrupt:
        raise SystemExit("stopped; nothing was written") from None


def peer(name):
    """The environment of a peer."""
    return environment(name, BENCH / "peers" / name / "requirements.txt")


def environment(name, requirements):
    """The Python of an environment that has exactly these requirements."""
    folder = CACHE / name
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"installing {name} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", folder])
    run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            requirements,
        ]
    )
    stamp.write_text(wanted)
    return python


def wrk():
    if shutil.which("wrk"):
        return
    say("installing wrk from Debian: apt-get install wrk")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "wrk"]):
        run(["apt-get", *arguments], env=environment)


def binary(package):
    """A release binary of this workspace, built."""
    say(f"building {package}")
    return built("--package", package) / package


def example(package, name):
    """An example of a package of this workspace, built for release."""
    say(f"building the example `{name}` of {package}")
    return built("--package", package, "--example", name) / "examples" / name


def built(*what):
    """The folder of what was built for release."""
    run(["cargo", "build", "--release", *what], cwd=ROOT)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    found = subprocess.run(metadata, check=True, capture_output=True, cwd=ROOT)
    return Path(json.loads(found.stdout)["target_directory"]) / "release"


def runtime_library(python):
    """The library inside an environment's onnxruntime package."""
    (found,) = python.parent.parent.glob(
        "lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so*"
    )
    return found


def models(python):
    """The folder of the models; `make_models.py` does nothing where they are up to date."""
    folder = CACHE / "models"
    run([python, FIXTURES / "make_models.py", "--large", folder])
    return folder


def commit():
    """What is measured, as git names it."""
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+changes"]
    return subprocess.run(describe, check=True, capture_output=True, text=True).stdout.strip()


def version(python, package):
    """The version of a package in an environment."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
