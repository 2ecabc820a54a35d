"""The rules of CONTRIBUTING.md that a text search can hold."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

COMMENT_OR_STRING = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", re.DOTALL)
STDIO_OR_EXIT = r"\b(?:v?f?printf|f?puts|putchar|perror|exit|_exit|abort|Py_FatalError|Py_Exit)\s*\("
PYTHON_HEADER = r'#\s*include\s*[<"](?:Python\.h|structmember\.h|numpy/)'
CUDA_HEADER = r'#\s*include\s*[<"](?:cuda|cublas|cooperative_groups|cub/|thrust/|nv)'
# borrowed references, conditional steals, layouts that NumPy 2 moved, capsules that are not ours to consume
WRONG_API = r"\b(?:PyDict_GetItem(?:String)?|PyModule_AddObject|PyCapsule_SetName)\s*\(|->\s*elsize\b"


def native_files(*folders: str) -> list[Path]:
    names = ("*.c", "*.h", "*.cu", "*.cuh", "*.cpp")
    return sorted(path for folder in folders for name in names for path in (ROOT / folder).rglob(name))


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


NATIVE = native_files("csrc", "cuda")
PACKAGE = python_files("python")
TESTS = python_files("tests")
PYTHON = [*PACKAGE, *TESTS, *python_files("benchmarks", ".ci"), ROOT / "setup.py"]


def without_comments(source: str, *, strings: bool = False) -> str:
    """Blank the comments, and the strings too unless `strings`; the lines stay where they are."""

    def blank(found: re.Match[str]) -> str:
        keep = strings and found[0].startswith('"')
        return found[0] if keep else "\n" * found[0].count("\n")

    return COMMENT_OR_STRING.sub(blank, source)


def hits(pattern: str, files: list[Path], *, strings: bool = False) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(without_comments(path.read_text(), strings=strings).splitlines(), 1)
        if re.search(pattern, line)
    ]


def operations() -> list[str]:
    header = (ROOT / "csrc" / "fastattr.h").read_text()
    block = re.search(r"#define FA_OPS\(X\)(.*?[^\\])\n", header, re.DOTALL)
    assert block, "csrc/fastattr.h has no FA_OPS"
    return re.findall(r"X\((\w+),", block[1])


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def says(call: ast.Call, name: str, value: bool) -> bool:
    words = {word.arg: word.value for word in call.keywords}
    given = words.get(name)
    return isinstance(given, ast.Constant) and given.value is value


def imports_at_top(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_searches_find_what_they_look_for(tmp_path: Path) -> None:
    """A rule that can match nothing would hold for ever."""
    assert NATIVE
    assert PACKAGE
    assert operations()
    assert re.search(STDIO_OR_EXIT, "    fprintf(stderr, x);")
    assert not re.search(STDIO_OR_EXIT, "    vsnprintf(message, n, format, list); PyErr_Print();")
    assert not re.search(STDIO_OR_EXIT, "__attribute__((format(printf, 3, 4)));")
    assert re.search(PYTHON_HEADER, "#include <numpy/arrayobject.h>")
    assert re.search(CUDA_HEADER, "#include <cuda_runtime.h>")
    assert not re.search(CUDA_HEADER, '#include "fastattr.h"')
    assert re.search(WRONG_API, "PyDict_GetItem(d, k)")
    assert not re.search(WRONG_API, "PyDict_GetItemWithError(d, k); PyModule_AddObjectRef(m, n, o)")
    assert without_comments('a /* b\n*/ "c" // d', strings=True) == 'a \n "c" '


def test_the_core_never_prints_or_ends_the_process() -> None:
    assert not hits(STDIO_OR_EXIT, NATIVE)


def test_python_stops_at_its_folder() -> None:
    binding = ROOT / "csrc" / "python"
    assert not hits(PYTHON_HEADER, [path for path in NATIVE if binding not in path.parents], strings=True)


def test_cuda_stops_at_its_folder() -> None:
    assert not hits(CUDA_HEADER, native_files("csrc"), strings=True)


def test_interfaces_that_lead_to_leaks_are_not_used() -> None:
    assert not hits(WRONG_API, NATIVE)


def test_every_goto_goes_to_done() -> None:
    assert not hits(r"\bgoto\s+(?!done\s*;)", NATIVE)


@pytest.mark.parametrize("operation", operations())
def test_every_operation_has_its_files(operation: str) -> None:
    assert (ROOT / "csrc" / "cpu" / f"{operation}.c").is_file()
    if (ROOT / "cuda").is_dir():
        assert (ROOT / "cuda" / f"{operation}.cu").is_file()
    named = re.compile(rf"(?<![a-z]){operation}(?![a-z])")
    native = (ROOT / "tests").rglob("*.cpp")
    assert any(named.search(path.read_text()) for path in [*TESTS, *native] if path != Path(__file__)), (
        f"no test names the operation {operation}"
    )


def test_files_are_short() -> None:
    length = {path: len(path.read_text().splitlines()) for path in [*NATIVE, *native_files("tests"), *PYTHON]}
    assert not {str(path.relative_to(ROOT)): lines for path, lines in length.items() if lines > MAX_LINES}


def test_nothing_is_unpickled() -> None:
    forbidden = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
    found = [f"{path.relative_to(ROOT)} imports {name}" for path in PYTHON for name in forbidden & imports_at_top(path)]
    for path in PYTHON:
        for function, call in calls(path):
            numpy_opens = function in {"np.load", "numpy.load"} and not says(call, "allow_pickle", False)
            torch_opens = function == "torch.load" and not says(call, "weights_only", True)
            if numpy_opens or torch_opens or says(call, "allow_pickle", True):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}")
    assert not found


def test_native_tests_import_no_torch() -> None:
    """`make asan` collects their files; torch would be imported under the sanitizer."""
    collected = [path for path in TESTS if path.name == "conftest.py" or "mark.native" in path.read_text()]
    heavy = {"torch", "captum", "sklearn", "matplotlib"}
    assert not {path.name for path in collected if heavy & imports_at_top(path)}


def test_importing_fastattr_imports_nothing_heavy() -> None:
    code = "import sys, fastattr; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "matplotlib", "sklearn", "tqdm"} & set(run.stdout.split())


@pytest.mark.skipif(shutil.which("nm") is None or sys.platform != "linux", reason="needs nm on Linux")
def test_the_extension_exports_one_symbol() -> None:
    from fastattr import _core

    run = subprocess.run(["nm", "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True)
    symbols = {line.split()[-1] for line in run.stdout.splitlines()}
    assert symbols - {"_init", "_fini", "_edata", "_end", "__bss_start"} == {"PyInit__core"}
