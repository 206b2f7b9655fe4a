"""Parts shared out to the machines of a Ray cluster, by Ray Data: an actor on each GPU, or on each machine without.

A part is what is computed again where a machine is lost. Ray keeps its dashboard and statistics of its usage to itself
unless RAY_USAGE_STATS_ENABLED asks for them.
"""

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from hrnet_tf.errors import InputError
from hrnet_tf.files import reason
from hrnet_tf.scaling.jobs import Outcome, Settings
from hrnet_tf.scaling.parts import Part
from hrnet_tf.stderr import held_back
from hrnet_tf.version import __version__

# What Ray is to do unless the environment says otherwise: send nothing home, and write what it has to say of itself to
# its log files alone.
_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
_PATIENCE = 10  # seconds for an address to answer; Ray itself tries for minutes
# For TensorFlow in actors: as `hrnet-tf` sets it in its own process.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1",
}


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Within it Ray is connected to a cluster.

    Args:
        address: "host:port" of its head or "auto" on one of its machines, "ray://host:port" from elsewhere, "local" for
            one that is started on this machine and ended with the block.

    Raises:
        InputError: nothing answers there, or not Ray, or Ray of another version.
    """
    _check_answers(address)
    os.environ.update({name: os.environ.get(name, value) for name, value in _DEFAULTS.items()})
    import ray

    try:
        with held_back():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=_dashboard(address))
    except Exception as error:
        raise InputError(f"--address={address}: no Ray cluster can be used there: {reason(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _dashboard(address):
    """Of a cluster that is started here it is off; one that is there has its own way."""
    return False if address == "local" else None


def _check_answers(address):
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        if address not in ("auto", "local"):
            raise InputError(f"--address must be host:port, ray://host:port, auto or local. Received: {address}")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address={address} cannot be reached: {reason(error)}. Is its head up?") from error


def predict_parts(settings: Settings, parts: Sequence[Part]) -> Iterator[Outcome]:
    """What came of each part, as they are done by the actors of the cluster that Ray is connected to.

    Raises:
        InputError: no machine has a processor to spare, what `PartWorker` raises, or the version of this package on a
            machine is another.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    count, resources = actors(ray.nodes())
    items = [{"part": part.to_json()} for part in parts]
    outcomes = ray.data.from_items(items, override_num_blocks=len(items)).map(
        _Actor,
        fn_constructor_args=(ray.put(settings), __version__, resources["num_cpus"]),
        compute=ActorPoolStrategy(min_size=1, max_size=min(count, len(items)), max_tasks_in_flight_per_actor=1),
        **resources,
    )
    try:
        for row in outcomes.iter_rows():
            yield Outcome(**json.loads(row["outcome"]))
    except ray.exceptions.RayError as error:
        found = _input_error(error)
        if found is None:
            raise
        raise found from error


def actors(nodes: Sequence[dict[str, Any]]) -> tuple[int, dict[str, int]]:
    """How many actors a cluster has room for, and what each of them takes."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    kind = "GPU" if any(found.get("GPU") for found in there) else "node"
    # (processors, actors) of each machine that has any.
    rooms = [(int(r.get("CPU", 0)), int(r.get("GPU", 0)) if kind == "GPU" else 1) for r in there]
    shares = [cpus // count for cpus, count in rooms if count and cpus >= count]
    if not shares:
        raise InputError("the cluster has no machine with a processor for each of its actors")
    cpus = min(shares)
    if kind == "GPU":
        return sum(count for _, count in rooms), {"num_cpus": cpus, "num_gpus": 1}
    return sum(found // cpus for found, _ in rooms), {"num_cpus": cpus}


def _input_error(error: BaseException | None) -> InputError | None:
    """The InputError that Ray's error came from, if any."""
    while error is not None:
        if isinstance(error, InputError):
            return InputError(str(error))
        error = getattr(error, "cause", None) or error.__cause__
    return None


class _Actor:
    """A `PartWorker` in a process of its own."""

    def __init__(self, settings: Any, version: str, cpus: int):
        import ray

        if version != __version__:
            raise InputError(f"a machine has hrnet_tf {__version__}, the command {version}: install the same")
        os.environ.update(_ENVIRONMENT | {"TF_NUM_INTRAOP_THREADS": str(cpus)})
        from hrnet_tf.scaling.worker import PartWorker  # imports TensorFlow, which reads these

        self._worker = PartWorker(ray.get(settings))

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        outcome = self._worker(Part.from_json(row["part"]))
        return {"outcome": json.dumps(outcome._asdict())}
