"""The example that a check was started with, asked with lines of JSON."""

import json
import subprocess
import sys

PROGRAM = sys.argv[1]


def answers(lines):
    """What it prints, line by line. A line that is a text already stays as it is."""
    text = "\n".join(it if isinstance(it, str) else json.dumps(it) for it in lines)
    done = subprocess.run([PROGRAM], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{PROGRAM} failed: {done.stderr}")
    return [json.loads(it) for it in done.stdout.splitlines()]
