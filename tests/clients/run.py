"""Drives a running Windlass with the real, unmodified clients. Installs them first where needed.

    python tests/clients/run.py --windlass target/debug/windlass

Arguments after `--` go to every pytest: `-- -k bytes -x`. Exit code 0 when all passed and the
server ended well after SIGTERM, 1 otherwise.
"""

import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
import server  # noqa: E402
import suite  # noqa: E402

# Which tests run in which environment: kserve pins much of what it depends on.
SUITES = {
    "triton": [
        "test_triton_http.py",
        "test_triton_grpc.py",
        "test_triton_aio.py",
        "test_shared_memory.py",
        "test_perf_analyzer.py",
        "test_curl.py",
        "test_hostile_requests.py",
        "test_hostile_connections.py",
    ],
    "kserve": ["test_kserve.py"],
}

# What the server serves; the test models that are made to be refused are the Rust tests' affair.
MODELS = [
    *[f"identity_int{bits}" for bits in (8, 16, 32, 64)],
    *[f"identity_uint{bits}" for bits in (8, 16, 32, 64)],
    *[f"identity_{kind}" for kind in ("bool", "fp16", "bf16", "fp32", "fp64", "string")],
    "add_sub",
    "fixed",
    "variable",
    "slow",
    "external",
    "one_label",
    "tabular30",
    "triton_repo",
    "mlflow_model",
]
EXAMPLES = ["credit/pipeline", "credit/lightgbm"]


def main():
    arguments = parse()
    windlass = arguments.windlass.resolve()
    pythons = {name: install.environment(name) for name in arguments.suites}
    tools = install.perf_analyzer()
    fixtures = install.models(arguments.fixtures or install.CACHE / "models", arguments.large)

    served = [fixtures / it for it in MODELS] + [install.ROOT / "examples" / it for it in EXAMPLES]
    passed = {}
    with tempfile.TemporaryDirectory(prefix="windlass-clients-") as scratch:
        try:
            with server.Started(windlass, served, scratch) as started:
                print(f"serving {len(served)} models at {started.url}", flush=True)
                more = {
                    **started.environment(),
                    "WINDLASS_TEST_BINARY": str(windlass),
                    "WINDLASS_TEST_MODELS": str(fixtures),
                    "WINDLASS_TEST_EXAMPLES": str(install.ROOT / "examples"),
                    "WINDLASS_TEST_TOOLS": str(tools),
                }
                for name, python in pythons.items():
                    passed[name] = pytest(python, name, more, arguments)
                if not all(passed.values()):
                    print(f"\nthe end of the server's log:\n{started.log[-4000:]}")
            passed["the server's end"] = True
        except AssertionError as error:
            print(error, file=sys.stderr)
            passed["the server's end"] = False
    return max(suite.told(name, well) for name, well in passed.items())


def pytest(python, name, more, arguments):
    print(f"\n{name}: {' '.join(SUITES[name])}", flush=True)
    files = arguments.files or SUITES[name]
    files = [install.HERE / it for it in SUITES[name] if it in files]
    if not files:
        return True
    ended = suite.run(python, install.HERE, [*files, *arguments.pytest], more)
    # 5: `-k` left nothing of this suite.
    return ended in ([0, 5] if arguments.pytest else [0])


def parse():
    parser = suite.parser(__doc__)
    parser.add_argument("--fixtures", type=Path, help="where the test models are, or shall be made")
    parser.add_argument("--large", action="store_true", help="make the heavy test models too")
    parser.add_argument(
        "--suites", nargs="+", choices=SUITES, default=list(SUITES), help="only these environments"
    )
    parser.add_argument("--files", nargs="+", help="only these files of tests")
    return suite.parse(parser)


sys.exit(main())
