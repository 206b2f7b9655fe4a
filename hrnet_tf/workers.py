"""Training on several machines: which process is which worker, what each does, and what they tell one another.

Each worker is a process with devices of its own that runs the same program. Batches are those of one machine: of every
one a worker reads its share. What a worker decides by its own clock or signals, all must agree on, as each waits for
the others in the next step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hrnet_tf.errors import InputError

# Of the first task of a SLURM job on a machine; the next ones follow.
_SLURM_PORT = 22750
_LOST_WORKER = (
    "another worker is gone: see what it has said. The same command on all of them with --resume goes on from the last "
    "state"
)


class LostWorkerError(Exception):
    """Another worker has ended before its time."""


@contextlib.contextmanager
def told_of_loss() -> Iterator[None]:
    """Turns what TensorFlow raises when another worker has ended into a `LostWorkerError`."""
    try:
        yield
    except tf.errors.OpError as error:
        if "Collective ops is aborted" in str(error) or isinstance(error, tf.errors.UnavailableError):
            raise LostWorkerError(_LOST_WORKER) from error
        raise


@dataclasses.dataclass(frozen=True)
class Share:
    """Part number `index`, from 0, of `count` equal ones that every batch is divided into."""

    index: int = 0
    count: int = 1

    def of(self, batch_size: int) -> slice:
        """Where the share is in a batch."""
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)


WHOLE = Share()


def find_cluster(
    workers: Sequence[str] = (), worker: int | None = None
) -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """Who takes part: what is given, else what TF_CONFIG says, else SLURM.

    Args:
        workers: "host:port" of each, in the same order everywhere.
        worker: which of them this process is, from 0.

    Returns:
        a resolver of at least two workers; None where this process trains alone.

    Raises:
        InputError: what is given or the environment says makes no sense.
    """
    if workers:
        return _listed(list(workers), worker)
    if worker is not None:
        raise InputError(f"--worker says which of --workers this is, and they are not given. Received: {worker}")
    if found := os.environ.get("TF_CONFIG"):
        try:
            config = json.loads(found)
            cluster = config.get("cluster", {})
            if set(cluster) - {"worker"}:
                raise ValueError(f"it has {', '.join(sorted(set(cluster) - {'worker'}))}")
            return _listed(cluster.get("worker", []), config.get("task", {}).get("index"))
        except (ValueError, AttributeError) as error:
            raise InputError(f"TF_CONFIG must be JSON of a cluster of workers alone, and a task: {error}") from error
    if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        # Which GPUs are a task's is SLURM's to say; the numbers of them are needed for nothing else.
        found = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_SLURM_PORT, gpus_per_node=1024, gpus_per_task=1, auto_set_gpu=False
        )
        return _listed(found.cluster_spec().as_dict()["worker"], found.task_id)
    return None


def _listed(addresses, index):
    """The resolver of workers at these addresses."""
    for address in addresses:
        if not str(address).rpartition(":")[2].isdecimal() or addresses.count(address) > 1:
            raise InputError(f"each of --workers must be a host:port of its own. Received: {address}")
    if not isinstance(index, int) or not 0 <= index < len(addresses):
        raise InputError(
            f"--worker must say which of the {len(addresses)} workers this is, from 0 to {len(addresses) - 1}. "
            f"Received: {index}"
        )
    if len(addresses) == 1:
        return None
    cluster = tf.train.ClusterSpec({"worker": addresses})
    return tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, "", "worker", index, rpc_layer="grpc")


def share_of(strategy: tf.distribute.Strategy) -> Share:
    """This worker's part of every batch; of a strategy of one machine the whole of it."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return WHOLE
    resolver = strategy.cluster_resolver
    return Share(resolver.task_id, len(resolver.cluster_spec().as_dict()["worker"]))


def distributed(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset) -> Any:
    """The dataset's batches, divided among replicas; on several machines it has this worker's share of each."""
    if share_of(strategy).count == 1:
        return strategy.experimental_distribute_dataset(dataset)
    replicas = strategy.num_replicas_in_sync // share_of(strategy).count

    def divided(*arrays):
        return tuple(tf.reshape(array, (replicas, -1, *array.shape[1:])) for array in arrays)

    def of_replicas(_):
        parts = dataset.map(divided).unbatch() if replicas > 1 else dataset
        return parts.prefetch(replicas)

    return strategy.distribute_datasets_from_function(of_replicas)


def total(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """The sum of an array of the same shape on each worker. All of them must call it."""
    if share_of(strategy).count == 1:
        return values
    replicas = strategy.num_replicas_in_sync // share_of(strategy).count

    def of_replica(context):
        own = context.replica_id_in_sync_group % replicas == 0
        return tf.constant(values if own else np.zeros_like(values))

    parts = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()


def of_all(strategy: tf.distribute.Strategy, values: Sequence[float]) -> np.ndarray:
    """[workers,n] float64: the n numbers that each worker has. All of them must call it."""
    share = share_of(strategy)
    table = np.zeros((share.count, len(values)))
    table[share.index] = values
    return total(strategy, table)


def gathered(strategy: tf.distribute.Strategy, rows: np.ndarray) -> np.ndarray:
    """[N,...] the rows [n,...] that each worker has, n its own, by worker. All of them must call it."""
    counts = of_all(strategy, [len(rows)])[:, 0].astype(int)
    first = int(counts[: share_of(strategy).index].sum())
    table = np.zeros((counts.sum(), *rows.shape[1:]), rows.dtype)
    table[first : first + len(rows)] = rows
    return total(strategy, table) if table.size else table


def check_alike(strategy: tf.distribute.Strategy, run: dict[str, Any]) -> None:
    """InputError, on all workers, unless each has the same `run` {name: value}; names are the same everywhere."""
    names = sorted(run)
    table = of_all(strategy, [zlib.crc32(repr(run[name]).encode()) for name in names])
    differences = [name for name, column in zip(names, table.T, strict=True) if len(set(column)) > 1]
    if differences:
        raise InputError(f"the workers differ in {', '.join(differences)}: give all of them the same command and data")


def spread(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Gives the first worker's values of `variables` to the others. All of them must call it."""
    if share_of(strategy).count == 1:
        return

    def replica():
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group == 0
        for dtype in sorted({variable.dtype for variable in variables}, key=str):  # those of one are sent together
            of_dtype = [variable for variable in variables if variable.dtype == dtype]
            sent = dtype if dtype.is_floating else tf.float64
            values = [tf.where(is_first, tf.cast(v, sent), tf.zeros(v.shape, sent)) for v in of_dtype]
            for variable, value in zip(of_dtype, context.all_reduce(tf.distribute.ReduceOp.SUM, values), strict=True):
                variable.assign(tf.cast(value, dtype))

    tf.function(lambda: strategy.run(replica), autograph=False)()
