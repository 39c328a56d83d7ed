"""A private, real Slurm on this machine: own folder, ports and munge; nothing of the system's is used or changed."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from quintet.slurm.queue import Slurm

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
START_SECONDS = 30.0
FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
NODES = ("n1", "n2")

CONFIG = """\
ClusterName=suite
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/msock/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1,default_queue_depth=10000
PriorityType=priority/basic
MaxArraySize={max_array_size}
MaxJobCount={max_job_count}
KillWait=2
SlurmctldTimeout=10
SlurmdTimeout=30
ReturnToService=2
JobRequeue=1
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
{accounting}
DefMemPerCPU=64
NodeName=n1 NodeHostName={host} NodeAddr=127.0.0.1 Port={port1} CPUs=16 RealMemory=64000 State=UNKNOWN
NodeName=n2 NodeHostName={host} NodeAddr=127.0.0.1 Port={port2} CPUs=16 RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=00:10:00 State=UP
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/msock/munge.socket
AccountingStorageEnforce=associations,limits,qos"""
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/msock/munge.socket,cred_expire=5
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""


def absent(more: Sequence[str] = ()) -> str | None:
    """Return why there can be no cluster here, None where there can; `more` names further programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in (*NEEDED, *more) if shutil.which(name, path=path) is None]
    return (
        f"not installed: {', '.join(missing)} (Debian: slurm-wlm munge, for accounting slurmdbd mariadb-server)"
        if missing
        else None
    )


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive ports that can be bound now."""
    for first in range(20000 + os.getpid() % 10000, 60000, count):
        taken = []
        try:
            for port in range(first, first + count):
                taken.append(socket.socket())
                taken[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for item in taken:
                item.close()
    raise RuntimeError("no free ports")


class Cluster:
    """munged, slurmctld and two slurmd as children of this process, in sessions of their own."""

    def __init__(
        self, folder: Path, max_array_size: int = 1001, max_job_count: int = 20000, max_submit: int | None = None
    ) -> None:
        self.folder = folder
        self._max_submit = max_submit  # per user; needs accounting, which is started for it
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        port = free_ports(5)
        self._database_port = port + 4
        host = socket.gethostname().split(".")[0]
        for name in ("munge", "msock", "state", "log", "run", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True, mode=0o755)
        (folder / "munge").chmod(0o700)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.conf = folder / "slurm.conf"
        self.conf.write_text(
            CONFIG.format(
                folder=folder,
                host=host,
                port=port,
                port1=port + 1,
                port2=port + 2,
                user=getpass.getuser(),
                max_array_size=max_array_size,
                max_job_count=max_job_count,
                accounting=NO_ACCOUNTING if max_submit is None else ACCOUNTING.format(folder=folder, port=port + 3),
            )
        )
        database = folder / "slurmdbd.conf"
        database.touch(0o600)
        database.write_text(
            DATABASE.format(
                folder=folder, host=host, port=port + 3, user=getpass.getuser(), database_port=self._database_port
            )
        )
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        self.environment["SLURM_CONF"] = str(self.conf)
        self.environment["PATH"] += ":/usr/sbin:/sbin"

    def start(self) -> None:
        """Start everything and wait until both nodes are idle."""
        munge = self.folder / "munge"
        sock = self.folder / "msock" / "munge.socket"
        self._spawn(
            "munged",
            ["munged", "--foreground", "--force", f"--socket={sock}", f"--key-file={munge}/key"]
            + [f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
        )
        self._until(sock.exists, "munged's socket")
        if self._max_submit is not None:
            self._start_accounting(self._max_submit)
        self._spawn("slurmctld", ["slurmctld", "-D", "-c"])
        for node in NODES:
            self.start_node(node)
        self._until(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "idle nodes")

    def _start_accounting(self, max_submit: int) -> None:
        """Start a database of our own and slurmdbd, and let this user submit so many jobs."""
        data, sock, user = self.folder / "db", self.folder / "run" / "my.sock", getpass.getuser()
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"]
        self.command(*install, "--auth-root-authentication-method=normal")
        serve = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={sock}", f"--port={self._database_port}"]
        self._spawn("mariadbd", [*serve, "--bind-address=127.0.0.1", f"--user={user}", "--skip-name-resolve"])
        client = ["mariadb", "--no-defaults", "-u", "root", f"--socket={sock}", "-e"]
        self._until(lambda: sock.exists() and self._answers(*client, "select 1"), "the database")
        self.command(*client, "create user slurm@'127.0.0.1' identified by 'slurm'")
        self.command(*client, "create database slurm_acct; grant all on slurm_acct.* to slurm@'127.0.0.1'")
        self._spawn("slurmdbd", ["slurmdbd", "-D"])
        self._until(lambda: self._answers("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        self.command("sacctmgr", "-i", "add", "cluster", "suite")
        self.command("sacctmgr", "-i", "add", "account", "lab")
        self.command("sacctmgr", "-i", "add", "user", user, "account=lab", f"maxsubmitjobs={max_submit}", check=False)
        self.command("sacctmgr", "-i", "modify", "user", user, "set", "defaultaccount=lab", check=False)
        self.command(
            "sacctmgr", "-i", "modify", "user", user, "where", "account=lab", "set", f"maxsubmitjobs={max_submit}"
        )

    def _answers(self, *arguments: str) -> bool:
        return subprocess.run(arguments, env=self.environment, capture_output=True, timeout=60).returncode == 0

    def _spawn(self, name: str, arguments: Sequence[str]) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                arguments,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                log = self.folder / "log" / f"{(dead or ['slurmctld'])[0]}.out"
                raise RuntimeError(
                    f"waiting for {what}: {', '.join(dead) or 'nobody'} has exited; {log.read_text()[-1000:]}"
                )
            time.sleep(0.01)

    def start_node(self, node: str) -> None:
        """Start one slurmd."""
        self._spawn(node, ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str) -> None:
        """Lose one node: its slurmd is killed, its jobs go on unseen, the controller calls it down."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def revive_node(self, node: str) -> None:
        """Start a lost node again."""
        self.start_node(node)
        time.sleep(0.5)
        self.command("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def stop(self) -> None:
        """Cancel what is left and stop in reverse order."""
        self.command("scancel", "-u", getpass.getuser(), check=False)
        self._quiet_until_idle()
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in reversed(self._processes.values()):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _quiet_until_idle(self) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end and self.command("squeue", "-h", check=False).strip():
            time.sleep(0.1)

    def command(
        self, *arguments: str, check: bool = True, extra: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        """Run one of Slurm's commands against this cluster; return its output."""
        done = subprocess.run(
            arguments, env={**self.environment, **(extra or {})}, cwd=cwd, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode:
            raise RuntimeError(f"{arguments}: rc {done.returncode}: {done.stderr}")
        return done.stdout

    def sbatch(self, *arguments: str, extra: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Submit and return the job's id."""
        return self.command("sbatch", "--parsable", *arguments, extra=extra, cwd=cwd).strip()

    def wait(self, *jobs: str, timeout: float = 120.0) -> None:
        """Wait until none of the jobs is in the queue."""
        end = time.monotonic() + timeout
        while True:
            queued = self.command("squeue", "-h", "-r", "-o", "%i %T %r").splitlines()
            left = [line for line in queued if line.split()[0].partition("_")[0] in jobs]
            if not left:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"still queued: {left[:5]}")
            time.sleep(0.1)

    def wait_for_state(self, element: str, state: str, timeout: float = 60.0) -> None:
        """Wait until a job or array element is in a state."""
        end = time.monotonic() + timeout
        while self.command("squeue", "-h", "-r", "-j", element, "-o", "%T", check=False).strip() != state:
            if time.monotonic() > end:
                raise TimeoutError(f"{element} is not {state}: {self.states(element.partition('_')[0])}")
            time.sleep(0.1)

    def states(self, job: str) -> dict[int, tuple[str, str, int]]:
        """Return task -> (state, exit code, restarts) of an array; a plain job is task -1."""
        found = {}
        for line in self.command("scontrol", "-o", "show", "job", job).splitlines():
            task = re.search(r"ArrayTaskId=(\d+)", line)
            state = re.search(r"JobState=(\w+)", line)
            code = re.search(r"ExitCode=(\d+:\d+)", line)
            restarts = re.search(r"Restarts=(\d+)", line)
            if state and code and restarts:
                found[int(task[1]) if task else -1] = (state[1], code[1], int(restarts[1]))
        return found

    def node_states(self) -> dict[str, str]:
        """Return the state of each node."""
        lines = self.command("sinfo", "-h", "-N", "-o", "%N %t", check=False).splitlines()
        return dict(line.split() for line in lines)

    def desk(self) -> Slurm:
        """Return the suite's own access to this cluster."""
        return Slurm(self.environment)


@contextmanager
def running_cluster(folder: Path, **parameters: int) -> Iterator[Cluster]:
    """Run a cluster for the body of a `with`."""
    cluster = Cluster(folder, **parameters)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
