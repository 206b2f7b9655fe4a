"""Serves the page on this machine, to this machine alone."""

import os
import signal
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Sequence

from hrnet_tf.errors import InputError

HOST = "127.0.0.1"


def check_port(port: int) -> None:
    """Raises InputError unless a server can listen at a port of this machine."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror}; give another --port") from error


def serve(
    models: Sequence[str], detectors: Sequence[str], port: int, max_megabytes: int, max_frames: int, share: bool
) -> None:
    """Shows the page until the process is interrupted or terminated.

    Args:
        models: files or names of networks to choose from first.
        detectors: the same of detectors.
        port: of 127.0.0.1.
        max_megabytes: that an uploaded file may have.
        max_frames: that a video may have.
        share: whether to ask Gradio's servers for a public link.

    Raises:
        InputError: a network cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="hrnet_tf_app.", ignore_cleanup_errors=True) as folder:
        _keep_to_itself(folder)
        from hrnet_tf.app.choices import detector_choices, network_choices
        from hrnet_tf.app.engine import Engine
        from hrnet_tf.app.page import launch_options, make_page

        engine = Engine(folder, max_frames)
        for model in models:
            engine.load(model)  # refused before the page is there
        page = make_page(engine, network_choices(models), detector_choices(detectors))
        page.queue(max_size=32, api_open=False)
        ended = threading.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, lambda *_: ended.set())
        _, url, public_url = page.launch(
            server_name=HOST,
            server_port=port,
            share=share,
            max_file_size=max_megabytes << 20,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            **launch_options(),
        )
        print(f"the page is at {public_url or url} (Ctrl-C ends it)", flush=True)
        ended.wait()
        engine.stop()  # the server's thread ends with the process


def _keep_to_itself(folder: str) -> None:
    """Has Gradio write into `folder`, ask its servers for nothing, and reach this machine past proxies.

    To be called before Gradio is imported.
    """
    os.environ["GRADIO_TEMP_DIR"] = os.path.join(folder, "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    around = urllib.request.getproxies().get("no")
    os.environ["no_proxy"] = f"{around},{HOST}" if around else HOST
