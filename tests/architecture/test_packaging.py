"""What is installed is what is in the repository: plain and editable, with its import contracts in force."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("domain", "commands", "projections", "streams", "api")
INSTALLED_ELSEWHERE = {"api/client": "taskscheduler.client", "api/testing": "taskscheduler.testing"}
VIOLATIONS = {
    "imports point inward": ("domain/outward.py", "import taskscheduler.api"),
    "the core does no I/O": ("commands/storage.py", "import rocksdict"),
    "the domain is pure": ("domain/clock.py", "import time"),
    "routes name no storage": ("api/routes/storage.py", "import taskscheduler.streams.rocksdb"),
    "dispatch names no storage": ("streams/dispatch/storage.py", "import taskscheduler.streams.rocksdb"),
    "the client stands alone": ("api/client/server.py", "import taskscheduler.domain"),
}
IMPORT_ALL = """
import importlib, importlib.util, sys
for name in sys.argv[1:]:
    try:
        file = importlib.import_module(name).__file__
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in ("pyflink", "py4j"):
            raise
        file = importlib.util.find_spec(name).origin
    print(name, file)
"""
# As where nothing was installed for a cluster.
COLLECT_WITHOUT_FLINK = """
import sys
sys.modules["pyflink"] = None
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""
LINT = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
MACHINE_PATH = re.compile(r"(?<![\w.<-])/(?:root|work|home/\w+|Users/\w+|opt/wheels)\b")
REGISTRY_HOST = re.compile(r"pypi\.org|pythonhosted\.org|repo1\.maven|repo\.maven")


@cache
def repository_files() -> list[str]:
    """List what git tracks or would track, deleted files left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in listed if name and os.path.lexists(REPOSITORY / name)})


def package_of(folder: str) -> str:
    return INSTALLED_ELSEWHERE.get(folder) or "taskscheduler." + folder.replace("/", ".")


def packages_on_disk() -> set[str]:
    folders = (os.path.dirname(name) for name in repository_files() if name.endswith("/__init__.py"))
    return {package_of(folder) for folder in folders if folder.split("/")[0] in ROOTS}


def modules_on_disk() -> list[str]:
    modules = set(packages_on_disk())
    for name in repository_files():
        folder, file = os.path.split(name)
        if folder.split("/")[0] in ROOTS and file.endswith(".py") and file not in ("__init__.py", "__main__.py"):
            modules.add(f"{package_of(folder)}.{file.removesuffix('.py')}")
    return sorted(modules)


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def make_environment(path: Path) -> Path:
    """Make an environment that sees our dependencies, but not our own installation; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A .pth file named by another one is not processed: the editable install beside the dependencies stays unseen.
    (path / "lib" / version / "site-packages" / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return path / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    done = run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"),
        *("--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", *what),
    )
    assert done.returncode == 0, done.stderr


def assert_imports_from(python: Path, folder: Path) -> None:
    """Assert that every module imports, and from nowhere but `folder`."""
    done = run(python, "-I", "-c", IMPORT_ALL, *modules_on_disk(), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith("taskscheduler."))
    assert list(found) == modules_on_disk()
    assert [file for file in found.values() if not Path(file).is_relative_to(folder)] == []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository as a fresh clone would have it, without build leftovers."""
    copy = tmp_path_factory.mktemp("source")
    for name in repository_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = tmp_path_factory.mktemp("build") / "copy"
    shutil.copytree(source, build, symlinks=True)
    command = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, build)
    done = run(sys.executable, "-m", "pip", *command)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("taskscheduler-*.whl")
    return built


@pytest.fixture(scope="module")
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = make_environment(tmp_path_factory.mktemp("editable") / "venv")
    install(python, "--editable", source)
    return python


def test_every_package_on_disk_is_listed() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == packages_on_disk()


def test_every_file_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    expected = {f"{package.replace('.', '/')}/__init__.py" for package in packages_on_disk()}
    expected |= {f"taskscheduler/{root}/py.typed" for root in (*ROOTS, "client", "testing")}
    for name in repository_files():
        folder, file = os.path.split(name)
        if folder.split("/")[0] in ROOTS and file.endswith(".py"):
            expected.add(f"{package_of(folder).replace('.', '/')}/{file}")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    data = {name for name in shipped if not name.endswith((".py", "py.typed"))}
    assert shipped - data == expected
    assert all(name.startswith("taskscheduler/") for name in data)


def test_plain_install(wheel: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    install(python, wheel)
    assert_imports_from(python, tmp_path / "venv")
    answer = run(python.parent / "taskscheduler", "--help", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "serve" in answer.stdout


def test_editable_install(editable: Path, source: Path) -> None:
    assert_imports_from(editable, source)


def test_all_tests_can_be_read_where_only_what_they_need_is_installed() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "taskscheduler[node]" in settings["dev"]
    done = run(sys.executable, "-I", "-c", COLLECT_WITHOUT_FLINK, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout[-2000:]


def test_import_contracts_hold(editable: Path, source: Path) -> None:
    done = run(editable, "-I", "-c", LINT, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = tomllib.loads((source / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {contract["name"] for contract in settings["contracts"]} == set(VIOLATIONS)


def test_each_import_contract_can_break(editable: Path, source: Path) -> None:
    added = [source / file for file, _ in VIOLATIONS.values()]
    for file, line in VIOLATIONS.values():
        (source / file).write_text(line + "\n")
    try:
        done = run(editable, "-I", "-c", LINT, cwd=source)
    finally:
        for file in added:
            file.unlink()
    assert done.returncode != 0
    assert {name for name in VIOLATIONS if f"{name} BROKEN" in done.stdout} == set(VIOLATIONS)


def test_no_file_names_a_machine() -> None:
    found = []
    for name in repository_files():
        if (path := REPOSITORY / name).is_symlink():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
        found += [f"{name}: {match[0]}" for match in REGISTRY_HOST.finditer(text)]
    assert found == []
