"""What the tests need, put in place once: an environment for each client, perf_analyzer, models.

Everything lies under the user's cache folder. A second run finds it and installs nothing.
"""

import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements"
FIXTURES = ROOT / "xtask" / "fixtures"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windlass" / "clients"


def run(*command, **more):
    subprocess.run([str(it) for it in command], check=True, **more)


def installed(name, requirements, install):
    """CACHE/name, filled by `install` unless it was by the same recipe and requirements."""
    folder = CACHE / name
    stamp = folder / ".stamp"
    how = sys.version + inspect.getsource(install)
    recipe = hashlib.sha256(requirements.read_bytes() + how.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == recipe:
        return folder
    print(f"installing {name} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install(folder, requirements)
    stamp.write_text(recipe)
    return folder


def environment(name, requirements=None):
    """The Python of an environment that has exactly these requirements."""

    def install(folder, requirements):
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements)

    requirements = requirements or REQUIREMENTS / f"{name}.txt"
    return installed(name, requirements, install) / "bin" / "python"


def perf_analyzer():
    """The folder of perf_analyzer and the two libraries that it wants.

    Newer releases want a newer glibc than Debian 12 has, and pip then installs a placeholder
    without a program and says nothing; so the program is taken out of an older wheel.
    """
    return installed("perf_analyzer", REQUIREMENTS / "perf_analyzer.txt", unpack_perf_analyzer)


def unpack_perf_analyzer(folder, requirements):
    download = folder / "download"
    flags = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", download]
    run(sys.executable, "-m", "pip", "download", *flags, "-r", requirements)
    for wheel in download.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            for name in files.namelist():
                file = name.rsplit("/", 1)[-1]
                if file == "perf_analyzer" or file.startswith("libcudart.so"):
                    (folder / file).write_bytes(files.read(name))
    (folder / "perf_analyzer").chmod(0o755)
    debian_package("libb64-0d", download)
    (library,) = download.glob("usr/lib/*/libb64.so.0d")
    shutil.copy(library, folder / "libb64.so.0d")
    shutil.rmtree(download)


def alertmanager():
    """Alertmanager's program, out of Debian's package. It starts in the folder that this is unpacked into.

    Debian's build reads its templates where the package is installed, which takes rights and starts
    a service. So the path within the program becomes one from the working folder, of the same length.
    """

    def unpack(folder, requirements):
        unpack_debian(folder, requirements)
        program = folder / "usr" / "bin" / "prometheus-alertmanager"
        templates, here = b"/usr/share/prometheus/alertmanager", b"usr/share/prometheus//alertmanager"
        program.write_bytes(program.read_bytes().replace(templates, here))

    folder = installed("alertmanager", REQUIREMENTS / "alertmanager.txt", unpack)
    return folder / "usr" / "bin" / "prometheus-alertmanager"


def promtool():
    """The program that checks Prometheus' rules, out of Debian's package."""
    folder = installed("prometheus", REQUIREMENTS / "prometheus.txt", unpack_debian)
    return folder / "usr" / "bin" / "promtool"


def chromium():
    """Debian's browser. Its package is installed where it is not: it wants many libraries of the system's."""
    found = shutil.which("chromium")
    if found:
        return Path(found)
    package = (REQUIREMENTS / "chromium.txt").read_text().strip()
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package, "fonts-dejavu-core"]
    if subprocess.run(install, env=quiet, stdout=subprocess.DEVNULL).returncode:
        run("apt-get", "-qq", "update")
        run(*install, env=quiet, stdout=subprocess.DEVNULL)
    return Path(shutil.which("chromium"))


def axe():
    """The script that checks a page for what keeps people from using it, out of its npm package."""

    def unpack(folder, requirements):
        package = requirements.read_text().strip()
        run("npm", "pack", "--silent", package, cwd=folder, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob("*.tgz")
        run("tar", "-xzf", archive, "-C", folder)

    folder = installed("axe", REQUIREMENTS / "axe.txt", unpack)
    return folder / "package" / "axe.min.js"


def unpack_debian(folder, requirements):
    debian_package(requirements.read_text().strip(), folder)


def debian_package(name, folder):
    """Unpacks a package of Debian into `folder`; nothing is installed, so no rights are needed."""
    fetch = ["apt-get", "-qq", "download", name]
    if subprocess.run(fetch, cwd=folder, stderr=subprocess.DEVNULL).returncode:
        # A fresh container has no lists of packages.
        run("apt-get", "-qq", "update")
        run(*fetch, cwd=folder)
    (package,) = folder.glob(f"{name}_*.deb")
    run("dpkg", "-x", package, folder)


def models(folder, large):
    """Fills `folder` with the test models; `make_models.py` does nothing where they are there."""
    python = environment("fixtures", FIXTURES / "requirements.txt")
    run(python, FIXTURES / "make_models.py", folder, *(["--large"] if large else []))
    return folder
