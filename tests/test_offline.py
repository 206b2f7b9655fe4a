"""No test and no command asks anything of the network, unless that is what it is for."""

import socket
import subprocess
import sys

import pytest
from tool_runs import ROOT

ASK = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"  # an address that is nobody's, RFC 5737
# Imports every module but those that are commands to be run.
IMPORT_ALL = """
import importlib, pkgutil, hrnet_tf
for module in pkgutil.walk_packages(hrnet_tf.__path__, "hrnet_tf."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
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


def test_importing_every_module_asks_nothing():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
