"""The launcher as a person starts it: `sh launch.sh` in a folder with spaces and Japanese characters.

The project that it sets up is a small stand-in (its torch is a few lines), so that real Python, real venv
and real pip run within seconds and without a network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.launch import venv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="starts launch.sh")

SH = str(shutil.which("sh"))

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "stand-in"
version = "1.0"
dependencies = ["torch==2.13.0"]
"""

# Builds what `pip install --editable` asks for; waits while a file named "hold" is there.
BACKEND = """
import pathlib, time, zipfile
WHEEL = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
HERE = pathlib.Path(__file__).parent
NEEDS = "".join(f"Requires-Dist: {line}\\n" for line in (HERE / "needs.txt").read_text().splitlines())
METADATA = f"Metadata-Version: 2.1\\nName: stand-in\\nVersion: 1.0\\n{NEEDS}"

def build_editable(folder, config_settings=None, metadata_directory=None):
    while (HERE / "hold").exists():
        (HERE / "held").touch()
        time.sleep(0.1)
    name = "stand_in-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("stand_in.pth", str(HERE) + "\\n")
        for file, text in {"WHEEL": WHEEL, "METADATA": METADATA, "RECORD": ""}.items():
            wheel.writestr(f"stand_in-1.0.dist-info/{file}", text)
    return name
"""

# Tells how it was started and ends with an exit code of its own.
TELL = """
import json, os, sys
print(json.dumps({"name": NAME, "arguments": sys.argv[1:], "folder": os.getcwd(), "python": sys.executable,
                  "utf8": sys.flags.utf8_mode, "path": os.environ.get("PYTHONPATH")}))
sys.exit(7)
"""

TORCH = """
import os
__version__ = "2.13.0+" + os.environ.get("STAND_IN_BUILD", "cpu")
class cuda:
    is_available = is_built = staticmethod(lambda: False)
class backends:
    class cuda:
        is_built = staticmethod(lambda: False)
    class mps:
        is_available = staticmethod(lambda: False)
"""


def make_wheel(folder: Path, name: str = "torch", version: str = "2.13.0", code: str = TORCH) -> None:
    """A wheel of the stand-in for torch, or of another package."""
    information = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code,
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


class Project:
    """A copy of the launcher around the stand-in."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.wheels = folder, folder.parent / "wheels"
        self.wheels.mkdir(parents=True)
        make_wheel(self.wheels)
        folder.mkdir()
        shutil.copy(root / "launch.sh", folder)
        shutil.copytree(root / "app" / "launch", folder / "app" / "launch")
        shutil.copytree(root / "app" / "texts", folder / "app" / "texts")
        for name in ("__init__.py", "bootstrap.py"):
            shutil.copy(root / "app" / name, folder / "app")
        (folder / "trainer").mkdir()
        files = {
            "pyproject.toml": PYPROJECT,
            "backend.py": BACKEND,
            "needs.txt": "torch==2.13.0\n",
            "gui.py": f"NAME = 'gui'\n{TELL}",
            "trainer/__init__.py": "",
            "trainer/__main__.py": f"NAME = 'trainer'\n{TELL}",
        }
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    @property
    def log(self) -> str:
        return (self.folder / "workspace" / "setup.log").read_text(encoding="utf-8")

    @property
    def stamp(self) -> Path:
        return self.folder / ".venv" / "installed.json"

    def begin(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """Start the launcher from another folder."""
        elsewhere = self.folder.parent / "else where"
        elsewhere.mkdir(exist_ok=True)
        return subprocess.Popen(
            [SH, str(self.folder / "launch.sh"), *arguments],
            cwd=elsewhere,
            env={**self.environment(), **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def launch(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the launcher to its end."""
        return finish(self.begin(*arguments, **changes))

    def environment(self) -> dict[str, str]:
        """No network: pip finds the stand-in's wheel. The build is given: the machine plays no part."""
        return {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "LORA_ATELIER_TORCH": "cu130",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONPATH": "/nowhere",
        }


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a launcher and what it started; neither outlives the test."""
    with process:
        try:
            out, err = process.communicate(timeout=300)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Project:
    """A project that has never been started."""
    return Project(root, tmp_path / "日本語 と space" / "atelier")


@pytest.fixture(scope="module")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .venv with nothing but pip in it: making one takes longer than all the rest."""
    folder = tmp_path_factory.mktemp("venv") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def prepared(project: Project, empty_venv: Path) -> Project:
    """A project whose first start got as far as .venv."""
    shutil.copytree(empty_venv, project.folder / ".venv", symlinks=True)
    return project


@pytest.fixture(scope="module")
def started(root: Path, empty_venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project after its first start, shared by the tests that leave it whole."""
    project = Project(root, tmp_path_factory.mktemp("started") / "日本語 と space" / "atelier")
    shutil.copytree(empty_venv, project.folder / ".venv", symlinks=True)
    done = project.launch("install")
    assert done.returncode == 0, done.stdout + done.stderr
    yield project
    assert project.stamp.exists()


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the started program said of itself."""
    assert done.returncode == 7, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def forgiving(condition: Any, seconds: float = 240) -> None:
    """Wait for something that another process does (a busy machine takes its time)."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# --- the first start and the second -------------------------------------------------------------------------


def test_the_first_start_sets_up_and_starts_the_page(project: Project) -> None:
    done = project.launch("--port", "7999", "--workspace", "C:\\絵 a")
    page = told(done)
    assert page["name"] == "gui"
    assert page["arguments"] == ["--port", "7999", "--workspace", "C:\\絵 a"]
    assert page["folder"] == str(project.folder.parent / "else where")
    assert page["python"] == str(project.folder / ".venv" / "bin" / "python")
    assert page["utf8"] == 1
    assert page["path"] is None
    assert "[1/3]" in done.stdout
    assert "PyTorch 2.13.0+cpu works" in done.stdout
    assert "Successfully installed torch-2.13.0" in project.log


def test_the_second_start_installs_nothing(started: Project) -> None:
    before = started.log
    done = started.launch()
    assert told(done)["name"] == "gui"
    assert len(done.stdout.splitlines()) == 1
    assert started.log == before


def test_other_verbs_go_to_the_trainer(started: Project) -> None:
    trainer = told(started.launch("check", "my preset.json", "--json"))
    assert (trainer["name"], trainer["arguments"]) == ("trainer", ["check", "my preset.json", "--json"])
    assert trainer["folder"] == str(started.folder.parent / "else where")


def test_two_starts_at_once_set_up_once(prepared: Project) -> None:
    first, second = prepared.begin("install"), prepared.begin("install")
    ends = [finish(process) for process in (first, second)]
    assert [end.returncode for end in ends] == [0, 0], ends
    assert prepared.log.count("--editable") == 1
    assert sum("waiting" in end.stdout for end in ends) == 1


def test_bitsandbytes_comes_with_a_cuda_build_only(prepared: Project) -> None:
    assert prepared.launch("install", STAND_IN_BUILD="cu130").returncode == 0
    assert "atelier[gpu]" in prepared.log
    assert "atelier[" not in prepared.log.replace("atelier[gpu]", "")


# --- interruptions and repairs ------------------------------------------------------------------------------


def test_an_interrupted_set_up_goes_on_where_it_was(prepared: Project) -> None:
    (prepared.folder / "hold").touch()
    process = prepared.begin("install")
    forgiving((prepared.folder / "held").exists)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert not prepared.stamp.exists()
    (prepared.folder / "hold").unlink()
    seen = len(prepared.log)
    assert told(prepared.launch())["name"] == "gui"
    again = prepared.log[seen:]
    assert "-m venv" not in again
    assert "Requirement already satisfied: torch===2.13.0" in again


def test_ctrl_c_is_answered_in_words(prepared: Project) -> None:
    (prepared.folder / "hold").touch()
    # A handler here means the default there: tests run in the background start with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = prepared.begin("install", LC_ALL="ja_JP.UTF-8")
    signal.signal(signal.SIGINT, before)
    forgiving((prepared.folder / "held").exists)
    os.killpg(process.pid, signal.SIGINT)
    done = finish(process)
    assert done.returncode == 130
    assert "中断しました" in done.stderr
    assert not prepared.stamp.exists()


def test_damage_is_repaired(prepared: Project) -> None:
    assert prepared.launch("install").returncode == 0
    packages = next((prepared.folder / ".venv" / "lib").glob("python3*/site-packages"))

    # A package whose unpacking was cut short: pip writes INSTALLER after the files.
    (packages / "torch-2.13.0.dist-info" / "INSTALLER").unlink()
    shutil.rmtree(packages / "torch")
    prepared.stamp.unlink()
    assert told(prepared.launch())["name"] == "gui"
    assert (packages / "torch" / "__init__.py").exists()

    # The Python that .venv was made with is gone.
    (prepared.folder / ".venv" / "bin" / "python").unlink()
    (prepared.folder / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    assert told(prepared.launch())["name"] == "gui"
    assert prepared.log.count("-m venv") == 1


def test_a_changed_project_file_or_a_moved_folder_is_installed_again(prepared: Project) -> None:
    assert prepared.launch("install", "wandb").returncode == 0
    for change in ("edit", "move"):
        if change == "edit":
            with (prepared.folder / "pyproject.toml").open("a", encoding="utf-8") as file:
                file.write("# changed\n")
        else:
            prepared.folder = prepared.folder.rename(prepared.folder.with_name("moved"))
        seen = len(prepared.log)
        assert told(prepared.launch("train"))["name"] == "trainer"
        assert "--editable" in prepared.log[seen:]
        assert json.loads(prepared.stamp.read_text(encoding="utf-8"))["extras"] == ["wandb"]


def test_the_tested_versions_are_installed_and_an_older_venv_is_brought_to_them(prepared: Project) -> None:
    for version in ("1.0", "1.5", "2.0"):
        make_wheel(prepared.wheels, "thing", version, "")
    (prepared.folder / "needs.txt").write_text("torch==2.13.0\nthing>=1\n", encoding="utf-8")
    packages = next((prepared.folder / ".venv" / "lib").glob("python3*/site-packages"))
    # Tested: the oldest; then a newer one; then one that is not to be had here.
    for tested, there in (("1.0", "1.0"), ("1.5", "1.5"), ("1.7", "1.5")):
        (prepared.folder / "constraints.txt").write_text(f"# tested\nthing=={tested}\n", encoding="utf-8")
        assert told(prepared.launch())["name"] == "gui"
        assert [path.name for path in packages.glob("thing-*")] == [f"thing-{there}.dist-info"]
    seen = prepared.log
    assert told(prepared.launch())["name"] == "gui"
    assert prepared.log == seen


# --- what a person can mend ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "words"), [("C.UTF-8", "cannot be reached"), ("ja_JP.UTF-8", "つながりません")]
)
def test_without_a_network_it_says_so(locale: str, words: str, prepared: Project) -> None:
    unreachable = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    (prepared.wheels / "torch-2.13.0-py3-none-any.whl").unlink()
    done = prepared.launch("install", LC_ALL=locale, **unreachable)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not prepared.stamp.exists()


def test_a_folder_that_may_not_be_written_is_named(project: Project) -> None:
    (project.folder / "workspace").write_text("a file where the folder should be", encoding="utf-8")
    done = project.launch("install")
    assert done.returncode == 2
    assert str(project.folder) in done.stderr


def test_an_unknown_extra_is_refused(started: Project) -> None:
    done = started.launch("install", "xfromers")
    assert done.returncode == 2
    assert "xfromers" in done.stderr
    assert "xformers" in done.stderr


def test_a_dry_run_changes_nothing(project: Project) -> None:
    done = project.launch("install", "--dry-run")
    plan = json.loads(done.stdout)
    assert plan["torch"]["name"] == "cu130"
    assert plan["complete"] is False
    assert not (project.folder / ".venv").exists()


# --- finding a Python ---------------------------------------------------------------------------------------


def path_with(folder: Path, **programs: str) -> str:
    """A PATH that holds the shell's helpers and the given programs (scripts, or links to "/…")."""
    folder.mkdir()
    helpers = {name: str(shutil.which(name)) for name in ("sh", "dirname", "cat")}
    for name, program in {**helpers, **programs}.items():
        if program.startswith("/"):
            (folder / name).symlink_to(program)
        else:
            (folder / name).write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
    return str(folder)


def test_unusable_pythons_are_passed_over(project: Project) -> None:
    base = base_python()
    path = path_with(
        project.folder.parent / "bin", **{"python3": "exit 127", "python3.12": "exit 1", "python": base}
    )
    plan = json.loads(project.launch("install", "--dry-run", PATH=path).stdout)
    assert Path(plan["python"]).resolve() == Path(base).resolve()


PRETEND = """
real={real}
case "$*" in *version_info*) exec "$real" -c "import sys; sys.version_info = {version}; ${{2}}";; esac
exec "$real" -c "import platform, runpy, sys
sys.version_info, platform.python_version = {version}, lambda: '.'.join(map(str, {version}))
sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')" "$@"
"""
"""A Python that says it is of another version."""


def pretended(version: tuple[int, ...]) -> str:
    return PRETEND.format(real=base_python(), version=version)


def base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 15, 0), (4, 0, 1)])
@pytest.mark.parametrize(("locale", "why"), [("C.UTF-8", "no packages"), ("ja_JP.UTF-8", "ないため")])
def test_a_python_that_is_too_old_or_too_new_is_told_which_to_take(
    project: Project, version: tuple[int, ...], locale: str, why: str
) -> None:
    path = path_with(project.folder.parent / "bin", python3=pretended(version))
    done = project.launch("install", PATH=path, LC_ALL=locale)
    assert done.returncode == 2
    assert ".".join(map(str, version)) in done.stderr
    assert "Python 3.14" in done.stderr
    assert why in done.stderr
    assert not (project.folder / ".venv").exists()


@pytest.mark.parametrize("minor", [10, 11, 12, 13, 14])
def test_every_python_that_pytorch_has_packages_for_is_taken(project: Project, minor: int) -> None:
    path = path_with(project.folder.parent / "bin", **{f"python3.{minor}": pretended((3, minor, 1))})
    done = project.launch("install", "--dry-run", PATH=path)
    assert json.loads(done.stdout)["complete"] is False, done.stderr


UV = """
echo "$* in $PWD, $UV_PYTHON_PREFERENCE, venv:$VIRTUAL_ENV" >> {log}
case "$1 $2" in
    "python install") [ -z "$UV_FAILS" ] && echo "Installed Python" || exit 2;;
    "python find") echo {python};;
esac
"""


def test_uv_brings_a_python_where_there_is_none(project: Project) -> None:
    log = project.folder.parent / "uv.log"
    uv = UV.format(log=f"'{log}'", python=base_python())
    path = path_with(project.folder.parent / "bin", uv=uv, python3=pretended((3, 15, 0)))
    done = project.launch("install", "--dry-run", PATH=path, VIRTUAL_ENV="/somewhere")
    assert Path(json.loads(done.stdout)["python"]).resolve() == Path(base_python()).resolve()
    assert "uv" in done.stderr
    asked = log.read_text(encoding="utf-8").splitlines()
    assert [line.split(" in ")[0] for line in asked] == ["python install 3.13", "python find 3.13"]
    assert {line.split(" in ")[1] for line in asked} == {"/, only-managed, venv:"}


def test_where_uv_cannot_it_is_said_which_python_to_take(project: Project) -> None:
    uv = UV.format(log=os.devnull, python="/nowhere/python")
    for number, fails in enumerate(("1", "")):
        path = path_with(project.folder.parent / f"bin{number}", uv=uv, python3=pretended((3, 15, 0)))
        done = project.launch("install", PATH=path, UV_FAILS=fails)
        assert done.returncode == 2
        assert "Python 3.14" in done.stderr


def test_a_python_at_hand_goes_before_uv(project: Project) -> None:
    path = path_with(project.folder.parent / "bin", uv="exit 9", python3=base_python())
    done = project.launch("install", "--dry-run", PATH=path)
    assert Path(json.loads(done.stdout)["python"]).resolve() == Path(base_python()).resolve()
    assert not done.stderr


def test_the_same_pythons_are_named_everywhere(root: Path) -> None:
    """Launchers, texts, pyproject and README."""
    limits = re.search(r">=3\.(\d+),<3\.(\d+)", (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert limits
    oldest, newest = int(limits[1]), int(limits[2]) - 1
    assert ((3, oldest), (3, newest)) == (venv.OLDEST_PYTHON, venv.NEWEST_PYTHON)
    for name in ("launch.sh", "launch.bat"):
        text = (root / name).read_text(encoding="utf-8")
        assert f"(3, {oldest}) <= sys.version_info[:2] <= (3, {newest})" in text, name
        assert all(re.search(rf"3\.{minor}\b", text) for minor in range(oldest, newest + 1)), name
    for name in ("README.md", "README.ja.md", "app/texts/launcher.en.json", "app/texts/launcher.ja.json"):
        text = (root / name).read_text(encoding="utf-8")
        assert re.search(rf"3\.{oldest} (to|から|～) 3\.{newest}\b", text), name
    for name in ("no_python.txt", "uv_brings_python.txt"):
        text = (root / "app" / "launch" / name).read_text(encoding="utf-8")
        assert {*re.findall(r"3\.(\d+)", text)} >= {str(oldest), str(newest)}, name


def test_without_a_python_it_says_which_to_install(project: Project) -> None:
    done = project.launch("install", PATH=path_with(project.folder.parent / "bin", python3="exit 1"))
    assert done.returncode == 2
    assert "Python 3.14" in done.stderr
    assert "もう一度起動してください" in done.stderr


# --- the files themselves -----------------------------------------------------------------------------------


def test_scripts_parse(root: Path) -> None:
    subprocess.run([SH, "-n", root / "launch.sh"], check=True)
    subprocess.run([str(shutil.which("bash")), "-n", root / ".ci" / "run"], check=True)
    assert os.access(root / "launch.sh", os.X_OK)


def test_the_batch_file_is_one_that_cmd_reads(root: Path) -> None:
    raw = (root / "launch.bat").read_bytes()
    assert raw.isascii()  # cmd loses its place in files with other characters
    assert raw.count(b"\r\n") == raw.count(b"\n")
    text = raw.decode()
    assert {*re.findall(r"goto (\w+)", text)} <= {*re.findall(r"^:(\w+)", text, re.MULTILINE)}
    assert "%*" in text
    assert text.rstrip().endswith("exit /b %code%")


def test_the_launcher_needs_nothing_but_python(root: Path) -> None:
    modules = [f"app.launch.{path.stem}" for path in (root / "app" / "launch").glob("[!_]*.py")]
    code = f"import importlib; [importlib.import_module(name) for name in {['app.bootstrap', *modules]}]"
    subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": ""}, check=True
    )


def test_every_sentence_exists_in_both_languages(root: Path) -> None:
    def messages(language: str) -> dict[str, dict[str, str]]:
        text = (root / "app" / "texts" / f"launcher.{language}.json").read_text(encoding="utf-8")
        return json.loads(text)["messages"]

    def blanks(parts: dict[str, str]) -> set[str]:
        return {name for text in parts.values() for _, name, _, _ in string.Formatter().parse(text) if name}

    english, japanese = messages("en"), messages("ja")
    assert english.keys() == japanese.keys()
    for code, parts in english.items():
        assert parts.keys() == japanese[code].keys(), code
        assert blanks(parts) == blanks(japanese[code]), code
    sources = [root / "app" / "bootstrap.py", *(root / "app" / "launch").glob("*.py")]
    used = {
        code for path in sources for code in re.findall(r"launcher\.\w+", path.read_text(encoding="utf-8"))
    }
    assert used == english.keys()
