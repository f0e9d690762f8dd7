#!/usr/bin/env python3
"""The crash matrix on real processes: a node ends itself, by the preloaded shim, at exactly one call (before a write to its log, after
it, after the sync, after the next send, before it writes what it applied), as leader, follower or candidate, in clusters of 1, 3 and 5:
by itself (kill), with what it had not synced (power), or with the power of all nodes (outage). What ended comes back, and every append
that was acknowledged is there, exactly once, on all nodes, in one order.

usage: COTERIE=path/to/coterie CHAOS_SHIM=path crash_matrix.py [--seed N] [--only TEXT]
COTERIE_SCALE=2 or more is the long form: every cell, and failing calls too. --only: of all cells those whose names hold the text.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import shim
from nodes import check, cluster, eventually, finish

SIZES, ROLES, KINDS = (1, 3, 5), ("leader", "follower", "candidate"), ("kill", "power", "outage")
DEATHS, FAILURES = shim.POINTS[1:6], shim.POINTS[6:]
VOTE = "hard_state"  # the key under which a vote is written
# Each point, role, size and kind.
SHORT = {
    (1, "leader", "after sync", "power"), (1, "leader", "after apply", "power"), (1, "candidate", "after write", "kill"),
    (3, "leader", "before write", "power"), (3, "leader", "after send", "outage"), (3, "follower", "after write", "outage"),
    (3, "follower", "after sync", "power"), (3, "candidate", "after sync", "outage"), (3, "candidate", "after send", "power"),
    (5, "leader", "after write", "kill"), (5, "follower", "after send", "outage"), (5, "candidate", "before write", "power"),
}


def impossible(size, role, point, kind):
    """Why there is no such cell; empty when there is one."""
    if size == 1 and kind == "outage":
        return "the power of a single node is that of all"
    if size == 1 and role == "follower":
        return "a single node follows nobody"
    if role == "candidate" and point in FAILURES + ("after apply",):
        return "a candidate is made for one write, that of its vote"
    if size == 1 and role == "candidate" and point == "after send":
        return "a single node leads as soon as its vote is synced"
    return ""


class shimmed(cluster):
    def __init__(self, folder, size):
        super().__init__(folder, "abcde"[:size])
        self.shims = {n: shim.control(self.folder / f"{n}.shim") for n in self.ports}

    def environment(self, name):
        return dict(os.environ, **self.shims[name].environment(os.environ["CHAOS_SHIM"], self.folder / name))

    def start(self, name):
        super().start(name, *["--bootstrap", "single"] * (len(self.ports) == 1))

    def settled(self):
        """All run, follow one leader, and vote."""
        states = [self.json(n, "status") for n in self.ports]
        return all(s and s["ready"] and s["voters"] == len(states) for s in states) and len({s["leader"] for s in states}) == 1


class load:
    """Clients that append, each message once, on whatever node is there."""

    def __init__(self, c, prefix):
        self.cluster, self.prefix, self.numbers = c, prefix, itertools.count()
        self.acknowledged, self.stop = {}, threading.Event()
        self.threads = [threading.Thread(target=self.append) for _ in range(3)]

    def append(self):
        while not self.stop.is_set():
            i = next(self.numbers)
            node = list(self.cluster.ports)[i % len(self.cluster.ports)]
            status, out, _ = self.cluster.run(node, "journal", "append", "orders", "t", f"{self.prefix}{i}", "--timeout", "3s")
            if status == 0:
                self.acknowledged[f"{self.prefix}{i}"] = int(out)

    def more(self, count):
        """So many acknowledged from now on."""
        wanted = len(self.acknowledged) + count
        return eventually(lambda: len(self.acknowledged) >= wanted, 20)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def processed(c, seen):
    """What each node has still to process is added to what it has seen."""
    for n in c.ports:
        while part := c.run(n, "journal", "process", "orders", "--max", "1000", "--", "cat")[1]:
            seen[n] += [(x["id"], x["message"]) for x in map(json.loads, part.splitlines())]


def wrong_with(c, seen, acknowledged):
    """What of the promise is broken; empty = nothing. Waits for nodes that are behind."""

    promised = {(i, m) for m, i in acknowledged.items()}

    def caught_up():
        processed(c, seen)
        retained = [c.json(n, "journal", "count", "orders")["retained"] for n in seen]
        return retained == [max(map(len, seen.values()))] * len(seen) and all(promised <= set(entries) for entries in seen.values())

    if not eventually(caught_up, 20):
        return {n: (c.run(n, "journal", "count", "orders"), len(entries), sorted(promised - set(entries))[:5]) for n, entries in seen.items()}
    for n, entries in seen.items():
        if entries != next(iter(seen.values())):
            return f"{n} has another order"
        if len({m for _, m in entries}) != len(entries) or [i for i, _ in entries] != sorted({i for i, _ in entries}):
            return f"{n} has something twice, or not in order"
    return ""


def ends(c, role, victim):
    """Whether it came to the point. Leaders and followers do by themselves; a candidate is made by a start, or by an order to lead."""
    if role == "candidate" and len(c.ports) == 1:
        c.kill(victim)
        c.start(victim)

    def ended():
        if c.nodes[victim].poll() is None and role == "candidate" and len(c.ports) > 1 and (leader := c.leader()):
            c.run(leader, "cluster", "transfer", victim, "--timeout", "1s")
        return c.nodes[victim].poll() is not None

    return eventually(ended, 20)


def run_cell(c, seen, number, role, point, kind, chance, lying=False):
    """What went wrong, and how many appends were acknowledged meanwhile. lying: syncs do nothing from some time before."""
    if not eventually(c.settled, 40):
        return {n: c.run(n, "status") for n in c.ports}, 0
    leader = c.leader()
    victim = leader if role == "leader" or len(c.ports) == 1 else chance.choice([n for n in c.ports if n != leader])
    text = f"<{number}>"
    with load(c, text) as appends:
        if not appends.more(5):
            return "nothing is acknowledged before", 0
        c.shims[victim].set(lying=lying)
        c.shims[victim].order_end(point, VOTE if role == "candidate" else text)
        if not ends(c, role, victim):
            return f"{victim} does not come to the point", 0
        ended = c.shims[victim].ended_at(), c.nodes[victim].returncode
        if ended != (point, 1 if point in FAILURES else -signal.SIGKILL):
            return f"{victim} ended with {ended}", 0
        c.shims[victim].clear()
        down = list(c.ports) if kind == "outage" else [victim]
        for n in c.running():
            if n in down:
                c.kill(n)
        if kind != "kill":
            for n in down:
                c.shims[n].lose_unsynced(c.folder / n, chance)
        if len(down) < len(c.ports) and not appends.more(5):
            return "nothing is acknowledged without it", 0
        for n in down:
            c.start(n)
        if not appends.more(5):
            return f"nothing is acknowledged when it is back: {c.run(victim, 'status')}", 0
    if not eventually(c.settled, 40):
        return {n: c.run(n, "status") for n in c.ports}, 0
    return wrong_with(c, seen, appends.acknowledged), len(appends.acknowledged)


def run_size(size, cells, chance, results):
    with tempfile.TemporaryDirectory(prefix="coterie-matrix-") as folder:
        c = shimmed(folder, size)
        seen = {n: [] for n in c.ports}
        try:
            for n in c.ports:
                c.start(n)
            if not check(f"a cluster of {size} is formed", c.wait(size) == [0] * size):
                return
            for number, (role, point, kind) in enumerate(cells):
                wrong, count = run_cell(c, seen, number, role, point, kind, chance)
                results[size, role, point, kind] = "FAILED" if wrong else f"ok {count}"
                if not check(f"{point}, {role} of {size}, {kind}: {count} appends", not wrong, wrong):
                    return  # what comes after it would say nothing
        finally:
            c.end()


class worst(random.Random):
    """Nothing that was not synced happened to reach the disk."""

    def random(self):
        return 0.0


def counted():
    """What a failed sync left in memory alone counts for the process that comes next, so it is still there after a loss of power."""
    run_size(1, [("leader", "sync fails", "kill"), ("leader", "after send", "power")], worst(), {})


def found_out():
    """This test is tested too: when syncs do nothing and all that they were to keep is lost, it says so."""
    with tempfile.TemporaryDirectory(prefix="coterie-matrix-") as folder:
        c = shimmed(folder, 1)
        try:
            c.start("a")
            c.wait(1)
            wrong, _ = run_cell(c, {"a": []}, 0, "leader", "after apply", "power", worst(), lying=True)
            check("a loss is noticed", wrong)
        finally:
            c.end()


def show(results):
    columns = [x for x in itertools.product(SIZES, KINDS) if x != (1, "outage")]
    print(f"{'acknowledged appends':<26}" + "".join(f"{f'{s}, {k}':>11}" for s, k in columns))
    for point, role in itertools.product(DEATHS + FAILURES, ROLES):
        row = [results.get((s, role, point, k), "-" if impossible(s, role, point, k) else "") for s, k in columns]
        if any(x not in ("", "-") for x in row):
            print(f"{point:<14}{role:<12}" + "".join(f"{x:>11}" for x in row))
    for why in sorted({impossible(s, r, p, k) for s, k in columns for r in ROLES for p in DEATHS + FAILURES} - {""}):
        print(f"- {why}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    p.add_argument("--only")
    o = p.parse_args()
    long = o.only is not None or int(os.environ.get("COTERIE_SCALE", "1")) > 1
    print(f"seed {o.seed}")
    results = {}
    for size in SIZES:
        cells = [(r, p, k) for r, p, k in itertools.product(ROLES, DEATHS + FAILURES, KINDS)
                 if not impossible(size, r, p, k) and (long or (size, r, p, k) in SHORT) and (o.only or "") in f"{p}, {r} of {size}, {k}"]
        if cells:
            run_size(size, cells, random.Random(f"{o.seed} {size}"), results)
    counted()
    found_out()
    show(results)
    finish()


main()
