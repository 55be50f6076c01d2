"""Measures Windlass beside real peers and bare limits, and writes the tables of docs/benchmarks.md.

Server on one core, client (wrk) on another, the same rows for all. Everything that is missing is installed first.
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402


def main():
    arguments = parse()
    install.within(install.client())
    import measure

    install.until_stopped(measure.main, arguments)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers",
        default="all",
        help="`all`, `none`, or some of fastapi,mosec,litserve,bentoml,mlserver,ray",
    )
    parser.add_argument(
        "--models", default="tabular,minilm,image", help="some of tabular,minilm,image"
    )
    parser.add_argument(
        "--seconds", type=float, default=3, help="length of a window; images take 8/3 of it"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="windows for each number of connections"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one window of 1 s, to see that all works; prints, writes no file unless --out is given",
    )
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/benchmarks.md"
    )
    return parser.parse_args()


main()
