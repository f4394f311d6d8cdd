"""Nodes of a cluster on this machine alone, to try the cluster files for real: `python cluster/try_nodes.py`.

Each node has a network, process and mount namespace of its own: an address on a bridge that only they see, an ssh
server, a home folder, a /dev/shm, and one folder that all of them share, as an NFS mount would be. The file that
`ray up` takes is filled in for them, and what a user would run is run: `ray up`, `ray exec` with `doctor --cluster`,
`ray submit`, `ray dashboard` with `ray job submit`, `study submit`, and `ray down`, each timed.

    python cluster/try_nodes.py                        # two nodes, cluster/local.yaml, the quickstart
    python cluster/try_nodes.py --nodes 1 --install    # one node, cluster/one-node.yaml, the project installed there
    python cluster/try_nodes.py -- my-study.yaml       # what follows `--` is what follows `python -m study run`

`ray down` stops every Ray process that it can see. All of this happens in namespaces of its own, where it sees none
but its own, and whose end, however it comes, ends every process in them. That takes Linux and root.
"""

import argparse
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
RAY = Path(sys.executable).parent / "ray"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
# A namespace of processes with a /proc that shows them, of mounts, which that /proc needs, and of networks.
NAMESPACES = ("--pid", "--fork", "--mount", "--mount-proc", "--net", "--uts", "--kill-child")
NETWORK = "10.77.0."
LAPTOP = f"{NETWORK}1"
# CPUs and bytes of Ray's shared memory that a node offers: small, so that trials land on all of them.
NODE_CPUS, NODE_MEMORY = 1, 100_000_000

# The first process of a node: its disk, then its network, then its ssh server. $1 is the folder of all nodes, $2 the
# node's name, $3 its address, $4 the ssh server,
# $5 the address of the laptop.
_NODE = """
set -e
hostname "$2"
mount --bind "$1/$2" "$1/home"
mount --bind "$1/shared" "$1/home/shared"
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs -o size=512m tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir /run/sshd
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip addr add "$3/24" dev eth0
ip link set eth0 up
ip route add default via "$5"  # it leads nowhere; Ray asks which of a node's addresses is on it
"$4" -f "$1/ssh/sshd_config" -E "$1/$2/sshd.log" -o "PidFile=$1/$2/sshd.pid"
# A namespace's first process inherits its orphans, and a shell buries them when they end: `ray stop` waits for that.
while :; do sleep 1; done
"""


def obstacles() -> list[str]:
    """Return what this machine lacks for the trial, each with what to do; empty where it can run."""
    found = []
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        found.append("namespaces need Linux and root: run as root, in a container for instance")
    packages = {
        "ssh": "openssh-client",
        "ssh-keygen": "openssh-client",
        "rsync": "rsync",
        "ip": "iproute2",
        "unshare": "util-linux",
    }
    missing = {package for tool, package in packages.items() if shutil.which(tool) is None}
    if SSHD is None:
        missing.add("openssh-server")
    if missing:
        found.append(f"missing tools: apt-get update && apt-get install -y {' '.join(sorted(missing))}")
    if not RAY.exists():
        found.append(f"no ray beside {sys.executable}: use the Python of the project's virtual environment")
    probe = ["unshare", *NAMESPACES, "ip", "link", "add", "br0", "type", "bridge"]
    if not found and subprocess.run(probe, capture_output=True).returncode != 0:
        found.append("this kernel or container forbids namespaces of networks and processes (`unshare --net --pid`)")
    return found


class Nodes:
    """The nodes, and the laptop that commands are given on: this namespace.

    Args:
        scratch: a folder of their own, with a short name: Ray's sockets go below it, and their paths must stay under
            107 characters.
        count: how many.
        install: let the set-up install the project in each node's home, as on a machine that has only Python; else
            the nodes have this Python's packages already.
        variables: environment variables that a node has for whoever logs in.
    """

    def __init__(
        self, scratch: Path, count: int, *, install: bool = False, variables: Mapping[str, str] | None = None
    ) -> None:
        self.scratch, self.count, self._install = scratch, count, install
        self._variables = dict(variables or {})
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        laptop, temporary = scratch / "laptop", scratch / "l"
        for folder in (laptop, temporary, scratch / "home", scratch / "shared"):
            folder.mkdir()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.environment |= {
            "HOME": str(laptop),
            "TMPDIR": str(temporary),
            "PATH": f"{RAY.parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_UP_enable_autoscaler_v2": "0",
        }

    def start(self) -> Path:
        """Start all nodes and return the cluster's file, filled in for them."""
        keys = self.scratch / "ssh"
        keys.mkdir(mode=0o700)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
        shutil.copy(keys / "user_key.pub", keys / "authorized_keys")
        home = self.scratch / "home"
        variables = " ".join(f"{name}={value}" for name, value in {"TMPDIR": f"{home}/t", **self._variables}.items())
        (keys / "sshd_config").write_text(
            f"""Port 22
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
SetEnv {variables}
"""
        )
        # Who logs in to a node has a home there; ssh asks the system for it, whatever HOME says.
        user = pwd.getpwuid(os.getuid())
        entry = ":".join([user.pw_name, "x", str(user.pw_uid), str(user.pw_gid), "", str(home), "/bin/bash"]) + "\n"
        others = [
            line for line in Path("/etc/passwd").read_text().splitlines(True) if line.split(":")[2] != str(user.pw_uid)
        ]
        (self.scratch / "passwd").write_text("".join([entry, *others]))
        for command in (
            "ip link set lo up",
            "ip link add br0 type bridge",
            f"ip addr add {LAPTOP}/24 dev br0",
            "ip link set br0 up",
        ):
            subprocess.run(command.split(), check=True)
        for number in range(1, self.count + 1):
            self.start_node(number)
        return self._filled_in()

    def address(self, number: int) -> str:
        """A node's address; the first one's is the head's."""
        return f"{NETWORK}{10 + number}"

    def start_node(self, number: int) -> None:
        """Start one node, with the disk that it had, or an empty one."""
        name, link = f"node{number}", f"v{number}"
        disk = self.scratch / name
        if not disk.exists():
            self._make_disk(disk)
        script = ["bash", "-c", _NODE, "node", str(self.scratch), name, self.address(number), str(SSHD), LAPTOP]
        process = subprocess.Popen(["unshare", *NAMESPACES, *script], stdin=subprocess.DEVNULL)
        self._processes[number] = process
        first = _wait_for(lambda: self._first_process(process.pid), f"the first process of {name}")
        subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}n"], check=True)
        subprocess.run(["ip", "link", "set", link, "master", "br0", "up"], check=True)
        # It leaves this namespace's list of links, so that the name it gets there may be given to each.
        subprocess.run(["ip", "link", "set", f"{link}n", "netns", first, "name", "eth0"], check=True)
        _wait_for(lambda: _listens(self.address(number), 22), f"the ssh server of {name}")

    def kill_node(self, number: int) -> None:
        """End every process of a node at once, as when its power fails."""
        process = self._processes.pop(number)
        process.kill()  # which takes the namespace's first process along, and that all others
        process.wait()
        subprocess.run(["ip", "link", "delete", f"v{number}"], capture_output=True)  # else it goes a moment later

    def cut_off(self, number: int) -> None:
        """Pull a node's network cable; it runs on."""
        subprocess.run(["ip", "link", "set", f"v{number}", "down"], check=True)

    def _first_process(self, parent: int) -> str:
        """The process id of a namespace's first process, once its network is its own."""
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children and os.readlink(f"/proc/{children[0]}/ns/net") != os.readlink("/proc/self/ns/net"):
                return children[0]
        except OSError:
            pass
        return ""

    def _make_disk(self, disk: Path) -> None:
        for folder in ("shared", "t"):
            (disk / folder).mkdir(parents=True)
        # Users of the node find this Python first, as on a machine that somebody has set up.
        python_folder = Path(os.path.realpath(sys.executable)).parent
        (disk / ".bashrc").write_text(f"export PATH={shlex.quote(str(python_folder))}:$PATH\n")
        if self._install:
            return
        # An environment that finds this one's packages, and the code that is synced to the node before all of them.
        made, home = disk / "binsfo-study" / ".venv", self.scratch / "home"
        venv.EnvBuilder(with_pip=False, symlinks=True).create(made)
        (packages,) = made.glob("lib/python*/site-packages")
        here = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "this.pth").write_text("\n".join([f"{home}/binsfo-study", *here]) + "\n")
        script = f"#!{home}/binsfo-study/.venv/bin/python\nfrom ray.scripts.scripts import main\nmain()\n"
        for name, text in {"ray": script, "pip": "#!/bin/sh\n"}.items():
            (made / "bin" / name).write_text(text)
            (made / "bin" / name).chmod(0o755)

    def _filled_in(self) -> Path:
        """Write cluster/local.yaml, or one-node.yaml where there is one, for these nodes."""
        example = CHECKOUT / "cluster" / ("one-node.yaml" if self.count == 1 else "local.yaml")
        config = yaml.safe_load(example.read_text())
        workers = [self.address(number) for number in range(2, self.count + 1)]
        config["provider"] |= {"head_ip": self.address(1), "worker_ips": workers}
        if workers:
            config |= {"min_workers": len(workers), "max_workers": len(workers)}
        config["auth"] = {
            "ssh_user": pwd.getpwuid(os.getuid()).pw_name,
            "ssh_private_key": str(self.scratch / "ssh" / "user_key"),
        }
        config["setup_commands"] = [
            command.replace("192.0.2.20:", f"{LAPTOP}:") for command in config["setup_commands"]
        ]
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            for number, command in enumerate(config[key]):
                if "ray start" in command:
                    config[key][number] += f" --num-cpus={NODE_CPUS} --object-store-memory={NODE_MEMORY}"
        path = self.scratch / "cluster.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def step(self, title: str, command: Sequence[str], *, may_fail: bool = False, **more: str) -> str:
        """Run one command on the laptop, showing it, its output and its seconds; a failure ends the trial.

        Args:
            title: what it is called.
            command: what is run.
            may_fail: whether it may end with another exit status than 0.
            more: further environment variables.
        """
        print(f"\n== {title}\n$ {shlex.join(command)}", flush=True)
        began, lines = time.monotonic(), []
        with subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        print(f"== {title}: exit status {process.returncode} after {time.monotonic() - began:.0f} s", flush=True)
        if process.returncode != 0 and not may_fail:
            for log in sorted(self.scratch.glob("node*/sshd.log")):
                print(f"-- {log}\n{log.read_text()[-1500:]}", file=sys.stderr)
            raise SystemExit(f"error: {title} failed with exit status {process.returncode}")
        return "".join(lines)

    @contextmanager
    def dashboard(self, cluster: str) -> Iterator[str]:
        """The tunnel to the dashboard, as `ray dashboard` opens it; gives its address on the laptop."""
        tunnel = subprocess.Popen(
            [str(RAY), "dashboard", cluster],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_for(lambda: _listens("127.0.0.1", 8265), "the tunnel to the dashboard")
            yield "http://127.0.0.1:8265"
        finally:
            os.killpg(tunnel.pid, signal.SIGTERM)
            tunnel.wait()


def wait_for_workers(nodes: Nodes, cluster: str) -> str:
    """Ask `doctor --cluster` until all nodes have joined and are fit; gives what it said at last."""
    question = "RAY_ADDRESS=auto python -m study doctor --cluster ~/studies"
    deadline = time.monotonic() + 240
    while True:
        said = nodes.step("study doctor --cluster", [str(RAY), "exec", cluster, question], may_fail=True)
        if said.count("fit for trials") == nodes.count or time.monotonic() > deadline:
            return said
        time.sleep(3)


def try_launcher(nodes: Nodes, study: Sequence[str]) -> None:
    """Run the launcher's commands against the nodes; must be called inside the namespaces."""
    cluster, ray = str(nodes.start()), str(RAY)
    nodes.step("a token", [ray, "get-auth-token", "--generate"])
    nodes.step("ray up", [ray, "up", "-y", "--disable-usage-stats", cluster])
    if f"{nodes.count} nodes" not in (said := wait_for_workers(nodes, cluster)) and "all nodes can run" not in said:
        raise SystemExit("error: not all nodes are fit")
    nodes.step("ray submit", [ray, "submit", cluster, "study/run.py", "--", *study])
    with nodes.dashboard(cluster) as address:
        job = ["python", "-m", "study", "run", *study]
        nodes.step("ray job submit", [ray, "job", "submit", "--address", address, "--", *job], RAY_AUTH_MODE="token")
    nodes.step("ray up again", [ray, "up", "-y", "--no-restart", "--disable-usage-stats", cluster])
    nodes.step("ray down", [ray, "down", "-y", cluster])
    print("\nthe launcher works: up, doctor, submit, job submit, up again, down")


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait_for(found: Callable[[], object], what: str, seconds: float = 30) -> str:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {what} did not come within {seconds:g} s")
        time.sleep(0.05)
    return str(value)


def in_namespaces(command: Callable[[str], list[str]]) -> int:
    """Run a command in namespaces of its own, with a folder that is removed afterwards; its exit status.

    Args:
        command: makes the command, given the folder.
    """
    scratch = Path(tempfile.mkdtemp(prefix="bn-", dir="/tmp"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a polite kill cleans up too
    before = set(Path("/tmp").glob("ray_ssh_*/*"))
    try:
        return subprocess.run(
            ["unshare", *NAMESPACES, "bash", "-c", '"$@"; exit $?', "_", *command(str(scratch))]
        ).returncode
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for sockets in set(Path("/tmp").glob("ray_ssh_*/*")) - before:  # Ray's open ssh connections
            shutil.rmtree(sockets, ignore_errors=True)


def main() -> int:
    """Check this machine, enter namespaces, and try the launcher there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, choices=range(1, 10), default=2, help="how many (default: 2)")
    parser.add_argument("--install", action="store_true", help="install the project on each node; minutes each")
    parser.add_argument("study", nargs="*", default=["quickstart"], help="what follows `python -m study run`")
    arguments = parser.parse_args()
    if arguments.inside is not None:
        try_launcher(Nodes(arguments.inside, arguments.nodes, install=arguments.install), arguments.study)
        return 0
    if found := obstacles():
        print("error: " + "\nerror: ".join(found), file=sys.stderr)
        return 2
    options = [f"--nodes={arguments.nodes}", *(["--install"] if arguments.install else [])]
    return in_namespaces(
        lambda scratch: [sys.executable, __file__, "--inside", scratch, *options, "--", *arguments.study]
    )


if __name__ == "__main__":
    sys.exit(main())
