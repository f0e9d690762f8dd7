"""Real nodes on loopback for the integration tests: start, stop, kill, ask. Servers end by process id."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from ports import free_ports

COTERIE = os.environ["COTERIE"]
results = {"passed": 0, "failed": 0}


def check(what, good, seen=""):
    results["passed" if good else "failed"] += 1
    print(("ok     " if good else "failed ") + what + ("" if good else f": {seen}"), flush=True)
    return good


def finish():
    print(f"{results['passed']} passed, {results['failed']} failed")
    sys.exit(1 if results["failed"] else 0)


def eventually(condition, seconds=10.0):
    """The first true value of condition(), or its last one when the deadline has passed."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(0.05)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class cluster:
    def __init__(self, folder, names="abc", config=None):
        self.folder, self.config, self.nodes = pathlib.Path(folder), config, {}
        self.ports = dict(zip(names, free_ports(len(names))))
        self.seeds = ",".join(f"127.0.0.1:{p}" for p in self.ports.values())
        self.hosts, self.inside = {}, []  # where a node binds, if not 127.0.0.1; a command that runs each node
        (self.folder / "run").mkdir(mode=0o700, exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(self.folder / "run")
        os.environ.pop("COTERIE_NODE", None)

    def environment(self, name):
        """Of the node's process; None = as this one's."""
        return None

    def start(self, name, *more):
        if name not in self.ports:
            self.ports[name] = free_ports(1)[0]
        words = [*self.inside, COTERIE, "run", "--name", name, "--bind", f"{self.hosts.get(name, '127.0.0.1')}:{self.ports[name]}",
                 "--seeds", self.seeds, "--data", str(self.folder / name), *more]
        if self.config:
            words += ["--config", str(self.config)]
        log = open(self.folder / f"{name}.log", "ab")
        self.nodes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(name))

    def command(self, name, *words):
        return [COTERIE, "--node", str(self.folder / name / "control.sock"), *words]

    def run(self, name, *words, text=None, seconds=60):
        """Exit status, output, errors."""
        done = subprocess.run(self.command(name, *words), input=text, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout, done.stderr

    def json(self, name, *words):
        status, out, _ = self.run(name, *words, "--json")
        return json.loads(out) if status == 0 else None

    def signal(self, name, what):
        self.nodes[name].send_signal(what)

    def kill(self, name):
        self.nodes[name].kill()
        self.nodes[name].wait()

    def stop(self, name, seconds=20):
        self.nodes[name].terminate()
        return self.nodes[name].wait(seconds)

    def wait(self, count, name=None, seconds="20s"):
        return [self.run(n, "members", "--wait", str(count), "--timeout", seconds)[0] for n in ([name] if name else self.running())]

    def running(self):
        return [n for n, p in self.nodes.items() if p.poll() is None]

    def leader(self):
        for n in self.running():
            s = self.json(n, "status")
            if s and s["leader"] and s["quorum"]:
                return s["leader"]
        return None

    def end(self):
        for p in self.nodes.values():
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
                p.wait()
