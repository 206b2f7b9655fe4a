"""No test and no command asks anything of the network, unless that is what it is for."""

import os
import socket
import subprocess
import sys

import onnx
import pytest
from tool_runs import ROOT

ASK = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"  # an address that is nobody's, RFC 5737
# Imports every module but those that are commands to be run.
IMPORT_ALL = """
import importlib, pkgutil, hrnet_tf
for module in pkgutil.walk_packages(hrnet_tf.__path__, "hrnet_tf."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.startswith("hrnet_tf"):  # others are those of extras that are not installed
                raise
"""


def test_the_network_is_refused_here_and_in_processes():
    for ask in (lambda: exec(ASK, {}), lambda: socket.getaddrinfo("host.test", 80)):
        with pytest.raises(AssertionError, match=r"tests use no network\. Asked for: "):
            ask()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    assert "AssertionError: tests use no network. Asked for: '192.0.2.1'" in done.stderr


def test_this_machine_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), 5).close()


def test_onnx_runtime_writes_nothing_into_the_home_folder_and_sends_nothing(tmp_path):
    """It asks in C, where sockets are not guarded: the file that it keeps what it sends in is the sign of it."""
    nodes = [onnx.helper.make_node("Identity", ["a"], ["b"])]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"]
    graph = onnx.helper.make_graph(nodes, "a", values[:1], values[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "a.onnx")
    script = f"from hrnet_tf.onnx_sessions import open_session; open_session({str(tmp_path / 'a.onnx')!r}, False)"
    (tmp_path / "home").mkdir()
    folders = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "home")}
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | folders
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
    assert list((tmp_path / "home").iterdir()) == []


def test_importing_every_module_asks_nothing():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
