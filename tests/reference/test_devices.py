"""Asking for a CUDA device where there is none: the message says what is missing."""

import ctypes
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

BERTSCRIPT = Path(os.environ["BERTSCRIPT"])
WITH_CUDA = Path(torch.__file__).parent / "lib"

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")

# A driver that starts, and has no device (CUDA_ERROR_NO_DEVICE is 100).
DRIVER = """
int cuInit(unsigned flags) { (void)flags; return 100; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 0; return 100; }
int cuDeviceGet(int *device, int ordinal) { (void)device; (void)ordinal; return 100; }
int cuDeviceGetName(char *name, int length, int device) { (void)name; (void)length; (void)device; return 100; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { (void)bytes; (void)device; return 100; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { (void)value; (void)attribute; (void)device; return 100; }
"""

# Asks libtorch for CUDA before the library does.
TOUCH = """
#include <ATen/Context.h>
#include <bertscript/bertscript.h>
#include <cstdio>
int main() {
  std::printf("%d\\n", at::globalContext().hasCUDA() ? 1 : 0);
  bertscript_error *error = nullptr;
  const bertscript_status status = bertscript_device_available("cuda:0", &error);
  std::printf("%s %s\\n", bertscript_status_name(status), bertscript_error_message(error));
  bertscript_error_free(error);
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    (folder / "cuda.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "cuda.c"], check=True)
    return folder


def bertscript(*arguments, libraries=()):
    path = os.pathsep.join(str(folder) for folder in libraries)
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    if path:
        environment["LD_LIBRARY_PATH"] = path
    return subprocess.run([BERTSCRIPT, *arguments], env=environment, capture_output=True, text=True)


def devices(libraries=()):
    found = bertscript("devices", "--json", libraries=libraries)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_without_the_libraries_of_cuda():
    torch_of_setup = Path(os.environ["LIBTORCH"]) / "lib"
    found = devices()
    assert found["cuda"] == []
    if (torch_of_setup.parent.parent / "nvidia" / "cudnn").is_dir():
        pytest.skip("this libtorch was set up with CUDA")
    assert found["cuda_unavailable"].startswith("libtorch_cuda.so cannot be loaded: "), found
    assert ": cannot open shared object file" in found["cuda_unavailable"]


def test_without_a_driver():
    found = devices([WITH_CUDA])
    assert found["cuda_unavailable"] == (
        "the NVIDIA driver is missing: libcuda.so.1: cannot open shared object file: No such file or directory"
    )


def test_without_a_device(driver):
    found = devices([WITH_CUDA, driver])
    assert found["cuda"] == []
    assert "CUDA" in found["cuda_unavailable"] and "missing" not in found["cuda_unavailable"], found


def test_a_driver_that_is_none(tmp_path):
    (tmp_path / "cuda.c").write_text("int cuInit(unsigned flags) { return (int)flags; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "cuda.c"], check=True)
    found = devices([WITH_CUDA, tmp_path])
    assert found["cuda_unavailable"] == "libcuda.so.1 is no driver that is known: it has no cuDeviceGet"


def test_libtorch_was_asked_for_cuda_before(driver, tmp_path):
    root = Path(__file__).parents[2]
    (tmp_path / "touch.cc").write_text(TOUCH)
    include = WITH_CUDA.parent / "include"
    soname = tmp_path / "libbertscript.so.0.1"
    soname.symlink_to(BERTSCRIPT.with_name("libbertscript.so"))
    subprocess.run(
        ["c++", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=1", "-o", tmp_path / "touch", tmp_path / "touch.cc"]
        + ["-isystem", include, "-I", root / "include", soname, "-L", WITH_CUDA, "-ltorch_cpu", "-lc10"]
        + [f"-Wl,-rpath,{tmp_path}", f"-Wl,-rpath-link,{WITH_CUDA}", "-Wl,--allow-shlib-undefined"],
        check=True,
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{WITH_CUDA}{os.pathsep}{driver}"}
    found = subprocess.run([tmp_path / "touch"], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    touched, answer = found.stdout.splitlines()
    assert touched == "0"
    assert answer.startswith(
        "DEVICE_UNAVAILABLE cuda:0: no CUDA device is available: libtorch was asked for CUDA in this process before"
    ), answer


def test_the_library_of_graphs_is_loaded_by_libtorch_alone():
    library = BERTSCRIPT.with_name("libbertscript_cuda.so")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "libbertscript_cuda"], check=True)
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = {line.split("[")[1].split("]")[0] for line in dynamic.splitlines() if "(NEEDED)" in line}
    if "libtorch_cuda.so" not in needed:
        pytest.skip("built without the headers of CUDA")
    assert "RUNPATH" not in dynamic and not [name for name in needed if "cudart" in name or "bertscript" in name]
    # As the process has it already, torch being here; without a driver CUDA says so, and nothing breaks.
    graphs = ctypes.CDLL(str(library))
    graph, message = ctypes.c_void_p(), ctypes.create_string_buffer(200)
    failed = graphs.bertscript_cuda_graph_begin(0, ctypes.byref(graph), message, ctypes.c_size_t(200))
    assert failed == 1 and b"CUDA" in message.value and graph.value is None


@pytest.mark.parametrize("command", ["embed", "predict"])
def test_every_command_refuses(command, tmp_path):
    file = tmp_path / "model.pt"
    fixture = Path(__file__).parents[1] / "fixtures" / "text" / "sentence"
    exported = bertscript("export", fixture, "-o", file)
    assert exported.returncode == 0, exported.stderr
    for libraries in [(), (WITH_CUDA,)]:
        found = bertscript(command, file, "--device", "cuda:0", libraries=libraries)
        assert found.returncode == 1
        assert found.stderr.startswith("error: ") and "cuda:0: no CUDA device is available: " in found.stderr
        assert found.stderr.count("\n") == 1, found.stderr


def test_the_cpu_works_beside_the_libraries_of_cuda(tmp_path):
    file = tmp_path / "model.pt"
    fixture = Path(__file__).parents[1] / "fixtures" / "text" / "sentence"
    assert bertscript("export", fixture, "-o", file).returncode == 0
    (tmp_path / "texts.txt").write_text("a cat\nthe big city\n")
    answers = [
        bertscript("embed", file, "--input", tmp_path / "texts.txt", libraries=libraries)
        for libraries in [(), (WITH_CUDA,)]
    ]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout and answers[0].stdout.count("\n") == 2
