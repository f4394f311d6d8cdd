"""Tries the cluster launcher for real, on this machine alone: `python cluster/try_one_node.py -- quickstart`.

It starts an ssh server of its own on 127.0.0.1 (own port, own host key, one key that may log in), gives the login a
home folder of its own, fills cluster/one-node.yaml in for it, and runs what a user would run: `ray up`, `ray submit`,
`ray job submit`, `ray up` again (nothing to install) and `ray down`, each timed. What follows `--` is what
follows `python -m study run`; a quickstart if nothing does.

`ray down` stops every Ray process that it can see. So all of this happens in a process namespace of its own, where it
sees none but its own, and whose end, however it comes, ends every process in it. That takes Linux and root.
"""

import argparse
import hashlib
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
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
CLUSTER_FILE = CHECKOUT / "cluster" / "one-node.yaml"
RAY = Path(sys.executable).parent / "ray"
CLUSTER_NAME = "binsfo-try-one-node"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def obstacles() -> list[str]:
    """Return what this machine lacks for the trial, each with what to do; empty where it can run."""
    found = []
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        found.append("a process namespace needs Linux and root: run as root, in a container for instance")
    packages = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync", "unshare": "util-linux"}
    missing = {package for tool, package in packages.items() if shutil.which(tool) is None}
    if SSHD is None:
        missing.add("openssh-server")
    if missing:
        found.append(f"missing tools: apt-get update && apt-get install -y {' '.join(sorted(missing))}")
    if not RAY.exists():
        found.append(f"no ray beside {sys.executable}: use the Python of the project's virtual environment")
    if not found and subprocess.run(["unshare", *NAMESPACE, "true"], capture_output=True).returncode != 0:
        found.append("this kernel or container forbids process namespaces (`unshare --pid`)")
    return found


# A namespace of processes with a /proc that shows them, and of mounts, which that /proc needs.
NAMESPACE = ("--pid", "--fork", "--mount-proc", "--kill-child")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_sshd(scratch: Path) -> int:
    """Start an ssh server on 127.0.0.1 that takes one key and gives the login `scratch`/node as its home.

    Returns:
        The port it listens on.
    """
    node, keys = scratch / "node", scratch / "ssh"
    node.mkdir()
    keys.mkdir(mode=0o700)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copy(keys / "user_key.pub", keys / "authorized_keys")
    # The node's users find the same Python as this script's, as on a machine that somebody has set up. And sshd begins
    # in the home folder that the system knows, which is not this one.
    python_folder = Path(os.path.realpath(sys.executable)).parent
    (node / ".bashrc").write_text(f"export PATH={shlex.quote(str(python_folder))}:$PATH\ncd\n")
    temporary = scratch / "t"
    temporary.mkdir()
    port = free_port()
    (keys / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1
Port {port}
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/authorized_keys
PidFile {keys}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
SetEnv HOME={node} TMPDIR={temporary}
"""
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its privileges; Debian makes it with the service
    subprocess.run([str(SSHD), "-f", str(keys / "sshd_config"), "-E", str(keys / "log")], check=True)
    return port


def filled_in(scratch: Path, ssh_port: int, dashboard_port: int) -> Path:
    """Write cluster/one-node.yaml for this machine: address, login, key, and ports that no other Ray here uses.

    Returns:
        The path of the file.
    """
    config = yaml.safe_load(CLUSTER_FILE.read_text())
    user, key = pwd.getpwuid(os.getuid()).pw_name, scratch / "ssh" / "user_key"
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes"
    config["cluster_name"] = CLUSTER_NAME
    config["provider"]["head_ip"] = "127.0.0.1"
    config["auth"] = {
        "ssh_user": user,
        "ssh_private_key": str(key),
        "ssh_proxy_command": f"ssh {options} -i {key} -p {ssh_port} -W 127.0.0.1:{ssh_port} {user}@127.0.0.1",
    }
    start = [
        command.replace("--port=6379", f"--port={free_port()}").replace("=8265", f"={dashboard_port}")
        for command in config["head_start_ray_commands"]
    ]
    start[-1] += f" --dashboard-agent-listen-port={free_port()}"
    config["head_start_ray_commands"] = start
    path = scratch / "one-node.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def step(title: str, command: list[str], environment: dict[str, str]) -> None:
    """Run one command of the trial, showing it, its output and its seconds; a failure ends the trial."""
    print(f"\n== {title}\n$ {shlex.join(command)}", flush=True)
    began = time.monotonic()
    status = subprocess.run(command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL).returncode
    print(f"== {title}: exit status {status} after {time.monotonic() - began:.0f} s", flush=True)
    if status != 0:
        raise SystemExit(f"error: {title} failed with exit status {status}")


def try_launcher(scratch: Path, study: list[str]) -> None:
    """Run the launcher's commands against an ssh server on loopback; must be called inside the process namespace."""
    home = scratch / "laptop"
    home.mkdir()
    temporary = scratch / "l"
    temporary.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    # This side's own home holds the token, as a user's laptop would; what the launcher remembers goes to its own place.
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PATH": f"{RAY.parent}:{environment['PATH']}"}
    dashboard_port = free_port()
    cluster = str(filled_in(scratch, start_sshd(scratch), dashboard_port))
    ray = str(RAY)
    address = f"http://127.0.0.1:{dashboard_port}"
    with_token = {**environment, "RAY_AUTH_MODE": "token"}
    subprocess.run([ray, "get-auth-token", "--generate"], env=environment, capture_output=True, check=True)
    try:
        step("ray up", [ray, "up", "-y", "--disable-usage-stats", cluster], environment)
        step("ray submit", [ray, "submit", cluster, "study/run.py", "--", *study], environment)
        job = ["python", "-m", "study", "run", *study]
        step("ray job submit", [ray, "job", "submit", "--address", address, "--", *job], with_token)
        step("ray up again", [ray, "up", "-y", "--no-restart", "--disable-usage-stats", cluster], environment)
        step("ray down", [ray, "down", "-y", cluster], environment)
    except SystemExit:
        print((scratch / "ssh" / "log").read_text()[-2000:], file=sys.stderr)
        raise
    print("\nthe launcher works: up, submit, job submit, up again, down")


def main() -> int:
    """Check this machine, enter a process namespace, and try the launcher there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("study", nargs="*", default=["quickstart"], help="what follows `python -m study run`")
    arguments = parser.parse_args()
    if arguments.inside is not None:
        try_launcher(arguments.inside, arguments.study)
        return 0
    if found := obstacles():
        print("error: " + "\nerror: ".join(found), file=sys.stderr)
        return 2
    # A short name: Ray's sockets go below it, and their paths must stay under 107 characters.
    scratch = Path(tempfile.mkdtemp(prefix="b1n-", dir="/tmp"))
    # So that a polite kill cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        inside = [sys.executable, __file__, "--inside", str(scratch), "--", *arguments.study]
        # A namespace's first process inherits its orphans, and unlike this program a shell buries them when they end:
        # `ray stop` waits until what it stopped is gone.
        return subprocess.run(["unshare", *NAMESPACE, "bash", "-c", '"$@"; exit $?', "bash", *inside]).returncode
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        # Where Ray keeps its open ssh connections: /tmp/ray_ssh_<hash of the user>/<hash of the cluster's name>.
        for sockets in Path("/tmp").glob(f"ray_ssh_*/{hashlib.sha256(CLUSTER_NAME.encode()).hexdigest()[:10]}"):
            shutil.rmtree(sockets, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
