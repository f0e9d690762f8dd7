"""One network namespace for each node and one with the bridge between them: made, cut apart by iptables, and removed. All names
have this process's id; what a process that is gone has left behind is swept."""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

from nodes import alive

PREFIX = "coterie-rack"
NET = "10.77.0."


def missing():
    """What this machine lacks for a rack, or nothing."""
    if os.geteuid() != 0:
        return "root is needed for network namespaces"
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("iptables-restore", "iptables"), ("setpriv", "util-linux")):
        if not shutil.which(tool):
            return f"{tool} is missing (apt-get install {package})"
    return None


@contextlib.contextmanager
def ended_in_any_case(make, folder):
    """What make() gives, nodes on a network like the one below: ended with the block, and by a signal. Where there can't be one the
    folder is removed and the program ends as skipped."""
    if not (why := missing()):
        try:
            nodes = make()
        except (OSError, subprocess.SubprocessError) as e:
            why = f"network namespaces can't be made here ({e})"
    if why:
        shutil.rmtree(folder)
        print(f"no rack: {why}")
        sys.exit(77)
    atexit.register(nodes.end)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda number, _: sys.exit(128 + number))
    try:
        yield nodes
    finally:
        nodes.end()
        atexit.unregister(nodes.end)


def call(*words, text=None, may_fail=False):
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30)
    if done.returncode != 0 and not may_fail:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done


def spaces():
    return re.findall(rf"^({PREFIX}-(\d+)-\S+)", call("ip", "netns", "list", may_fail=True).stdout, re.M)


def remove(space):
    for pid in call("ip", "netns", "pids", space, may_fail=True).stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except (ProcessLookupError, ValueError):
            pass
    call("ip", "netns", "del", space, may_fail=True)


def sweep():
    """Namespaces of racks whose process is gone."""
    for space, pid in spaces():
        if not alive(pid):
            remove(space)


class network:
    """Nodes are single letters; links between two of them can be cut in one direction."""

    def __init__(self, names):
        sweep()
        self.names = list(names)
        self.addresses = {n: f"{NET}{11 + i}" for i, n in enumerate(self.names)}
        self.cuts, self.losses, self.lost_protocol, self.refusing = set(), {}, "all", False
        try:
            self.make()
        except (OSError, subprocess.SubprocessError):
            self.close()
            raise

    def space(self, name):
        return f"{PREFIX}-{os.getpid()}-{name}"

    def make(self):
        switch = self.space("switch")
        call("ip", "netns", "add", switch)
        call("ip", "-n", switch, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        call("ip", "-n", switch, "link", "set", "bridge", "up")
        for n in self.names:
            space = self.space(n)
            call("ip", "netns", "add", space)
            call("ip", "-n", switch, "link", "add", f"to-{n}", "type", "veth", "peer", "name", "eth0", "netns", space)
            call("ip", "-n", switch, "link", "set", f"to-{n}", "master", "bridge", "up")
            call("ip", "-n", space, "address", "add", f"{self.addresses[n]}/24", "dev", "eth0")
            call("ip", "-n", space, "link", "set", "eth0", "up")
            call("ip", "-n", space, "link", "set", "lo", "up")
        self.rules(self.names)

    def close(self):
        for space, pid in spaces():
            if int(pid) == os.getpid():
                remove(space)

    def inside(self, name):
        """Words that go before a command so that it runs there, and ends when we do."""
        return ["ip", "netns", "exec", self.space(name), "setpriv", "--pdeathsig", "KILL", "--"]

    # what arrives at a node

    def rules(self, names):
        for n in names:
            lines = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
            for other in self.names:
                if (other, n) in self.cuts:
                    lines.append(f"-A INPUT -s {self.addresses[other]} -j {'REJECT' if self.refusing else 'DROP'}")
            if n in self.losses:
                lines.append(f"-A INPUT -p {self.lost_protocol} ! -i lo -m statistic --mode random --probability {self.losses[n]} -j DROP")
            call(*self.inside(n)[:4], "iptables-restore", "-w", text="\n".join(lines + ["COMMIT", ""]))

    def cut(self, pairs, refusing=False):
        """Nothing gets from the first to the second of each pair; everything else does. Refusing: the sender is told."""
        self.cuts, self.refusing = set(pairs), refusing
        self.rules(self.names)

    def lose(self, losses, protocol="all"):
        """Share of packets that do not arrive, by node."""
        self.losses, self.lost_protocol = dict(losses), protocol
        self.rules(self.names)

    def lost(self):
        """Packets that did not arrive since lose() or cut()."""
        saved = (call(*self.inside(n)[:4], "iptables-save", "-c").stdout for n in self.names)
        return sum(int(count) for s in saved for count in re.findall(r"^\[(\d+):.* statistic ", s, re.M))

    def shape(self, name, *discipline):
        """A queueing discipline for what leaves the node; none to end it."""
        if discipline:
            call("tc", "-n", self.space(name), "qdisc", "replace", "dev", "eth0", "root", *discipline)
        else:
            call("tc", "-n", self.space(name), "qdisc", "del", "dev", "eth0", "root", may_fail=True)

    def can_shape(self, *discipline):
        """Why the kernel has no such discipline, or nothing."""
        done = call("tc", "-n", self.space("switch"), "qdisc", "add", "dev", "lo", "root", *discipline, may_fail=True)
        call("tc", "-n", self.space("switch"), "qdisc", "del", "dev", "lo", "root", may_fail=True)
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
