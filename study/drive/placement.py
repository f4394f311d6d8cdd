"""What one trial takes of the nodes that trials run on, how many such trials fit at once, and what fits nowhere.

A run of one worker must find its CPUs, its memory or its share of a GPU on one node; the workers of a larger run may
lie on several, each whole on one. So room is counted node by node, never by the sum: two nodes of three free CPUs hold
no run of four threads, and two, not three, of two threads each. A node's share is what its Ray offers, or on this
machine what affinity (`taskset`, SLURM) and control group leave to this process. Memory is what `define.memory_plan`
predicts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from study.define.memory_plan import Need, gpu_memory, largest_need, machine_memory, shown
from study.drive.ray_address import cluster_address
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.machine import allowed_cpus

# A driver of Ray Train workers needs no CPU of its own. Ray asks for some resource: each node offers 1 of its own name,
# and the head's offers 1 of this one, so that drivers run beside the study's folder, up to a thousand.
DRIVER_RESOURCES = {"cpu": 0, "node:__internal_head__": 0.001}
TO_COME = "nodes that come when trials wait"
HERE = "the machine"


@dataclass(frozen=True)
class Host:
    """What one node offers to trials.

    Attributes:
        name: its own, for messages.
        cpus, gpus: how many.
        memory: bytes; 0 where it is not known, and then limits nothing.
        gpu_memory: bytes of one of its GPUs; 0 where that is not known.
    """

    name: str
    cpus: float
    gpus: float = 0.0
    memory: int = 0
    gpu_memory: int = 0

    def __str__(self) -> str:
        memory = f", {shown(self.memory)} of memory" if self.memory else ""
        return f"{self.name} ({self.cpus:g} CPUs and {self.gpus:g} GPUs{memory})"


@dataclass(frozen=True)
class Room:
    """What Tune reserves for one trial, by its names, and how many such trials fit at once on all nodes."""

    resources: dict[str, float]
    at_once: int


def room_for(config: TrialConfig, hosts: Sequence[Host], need: Need) -> Room:
    """What one trial takes, and how many such trials fit at once.

    One-worker trials share a GPU where its memory holds several; on CPUs, as many run as the memory holds. With several
    workers, each of which gets a GPU of its own, Tune's reservation is their driver's, and trials are counted.

    Args:
        config: any trial of the set; its workers, threads and device count.
        hosts: the nodes.
        need: the memory of the most demanding trial.

    Raises:
        UserError: not even one trial fits; names the run and every node.
    """
    on_gpu = uses_gpu(config, hosts)
    places = [_places(config, host, on_gpu) for host in hosts]
    if sum(places) < config.workers:
        raise UserError(_lacking(config, hosts, need, on_gpu))
    usable = [host for host, count in zip(hosts, places, strict=True) if count]
    sharing = 1
    if on_gpu:
        known = [host.gpu_memory for host in usable if host.gpu_memory]
        if known:
            need.refuse_beyond(max(known), "one GPU", on_gpu=True)
        if known and config.workers == 1:
            sharing = max(1, need.side_by_side(min(known), on_gpu=True))
        held = [min(int(host.cpus // config.threads), int(host.gpus) * sharing) for host in usable]
    else:
        held = [_held(config, host, need) for host in usable]
        if sum(held) < config.workers:
            _refuse_memory(config, usable, need)
    room = sum(held) // config.workers
    if config.workers > 1:
        return Room(dict(DRIVER_RESOURCES), room)
    if on_gpu:
        return Room({"cpu": config.threads, "gpu": math.floor(1e4 / sharing) / 1e4}, room)
    by_memory = all(host.memory for host in usable)
    return Room({"cpu": config.threads, **({"memory": need.bytes()} if by_memory else {})}, room)


def rooms_of(configs: Sequence[TrialConfig], hosts: Sequence[Host], needs: Sequence[Need]) -> list[Room]:
    """The room of each of several cells' trials; errors as for `room_for`.

    Where memory keeps no trial out, all reserve what the most demanding takes: a process in which a trial has ended may
    then run one of another cell, without seconds spent on importing torch anew.
    """
    rooms = [room_for(config, hosts, need) for config, need in zip(configs, needs, strict=True)]
    largest = [room_for(config, hosts, largest_need(needs)) for config in configs]
    return largest if [room.at_once for room in largest] == [room.at_once for room in rooms] else rooms


def check_room(config: TrialConfig, need: Need) -> None:
    """Refuse a run that would wait for ever: by the machine's resources before Ray is started, by Ray's own then.

    A cluster that is only named by `RAY_ADDRESS` is not asked before it is joined.
    """
    if ray.is_initialized() or cluster_address() is None:
        room_for(config, hosts_here(), need)


def hosts_here() -> list[Host]:
    """The nodes of the connected Ray, those to come included; this machine alone where none is connected."""
    import torch

    on_gpus = gpu_memory()
    if not ray.is_initialized():
        return [Host(HERE, allowed_cpus(), torch.cuda.device_count(), machine_memory(), on_gpus)]
    nodes = [node for node in ray.nodes() if node["Alive"]]
    several = sum(node["Resources"].get("CPU", 0) > 0 for node in nodes) > 1
    hosts = [
        Host(
            f"{node['NodeManagerHostname']} at {node['NodeManagerAddress']}" if several else HERE,
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            int(node["Resources"].get("memory", 0)),
            on_gpus,
        )
        for node in nodes
    ]
    return [*hosts, *to_come(hosts)]


def to_come(hosts: Sequence[Host]) -> list[Host]:
    """What a cluster's nodes that come when trials wait would add, as one host; nothing where none come.

    Without them a cluster that starts as a head alone would seem to have no GPU at all. How large each of them is is
    not said, so that what fits on none of them is not found.
    """
    try:
        from ray._private.state import state

        most = state.get_max_resources_from_cluster_config() or {}
    except (ImportError, AttributeError, RuntimeError, ray.exceptions.RayError):  # another release's inside
        most = {}
    cpus = float(most.get("CPU", 0)) - sum(host.cpus for host in hosts)
    gpus = float(most.get("GPU", 0)) - sum(host.gpus for host in hosts)
    return [Host(TO_COME, max(cpus, 0.0), max(gpus, 0.0))] if max(cpus, gpus) > 0 else []


def uses_gpu(config: TrialConfig, hosts: Sequence[Host]) -> bool:
    """Whether a trial computes on GPUs: asked for, or left open where a node has some."""
    return config.device == "cuda" or (config.device == "auto" and any(host.gpus >= 1 for host in hosts))


def _places(config: TrialConfig, host: Host, on_gpu: bool) -> int:
    """How many workers a node has CPUs, and where they need one GPUs, for; memory apart."""
    cpus = int(host.cpus // config.threads)
    return min(cpus, int(host.gpus)) if on_gpu else cpus


def _held(config: TrialConfig, host: Host, need: Need) -> int:
    """How many workers a node holds, by its CPUs and main memory."""
    cpus = _places(config, host, on_gpu=False)
    return min(cpus, host.memory * need.workers // need.bytes()) if host.memory else cpus


def _lacking(config: TrialConfig, hosts: Sequence[Host], need: Need, on_gpu: bool) -> str:
    """Why a run fits nowhere, but for memory."""
    cpus = config.workers * config.threads
    wanted = f"{cpus} CPUs" + (f" and {config.workers} GPUs" if on_gpu else "")
    taken = f"{need.what}: one run takes {wanted} ({config.workers} workers x {config.threads} threads)"
    advice = "lower workers or threads"
    if len(hosts) == 1:
        return f"{taken}, but there are {hosts[0].cpus:g} CPUs and {hosts[0].gpus:g} GPUs; {advice}"
    listed = ", ".join(map(str, hosts))
    if config.workers == 1:
        return f"{taken}, and no single node has them: {listed}; {advice}"
    places = sum(_places(config, host, on_gpu) for host in hosts)
    return f"{taken}, and the nodes have whole places for {places} workers: {listed}; {advice}"


def _refuse_memory(config: TrialConfig, hosts: Sequence[Host], need: Need) -> None:
    """Refuse a run that no node, or with several workers not all of them together, has the memory for."""
    largest = max(hosts, key=lambda host: host.memory)
    if len(hosts) == 1:
        need.refuse_beyond(largest.memory, largest.name if largest.name == HERE else f"node {largest.name}")
    if config.workers == 1:
        need.refuse_beyond(largest.memory, f"node {largest.name}, the largest by memory")
    need.refuse_beyond(sum(host.memory for host in hosts), "all nodes together")
    raise UserError(
        f"{need.what}: one run of {config.workers} workers takes {shown(need.bytes())}, each worker's on one node, and "
        f"no nodes hold them all: {', '.join(map(str, hosts))}; lower batch_size, image_size, width, hid_dim or workers"
    )
