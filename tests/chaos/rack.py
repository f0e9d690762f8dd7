#!/usr/bin/env python3
"""The rack: real nodes in network namespaces that this script makes, under load, cut apart, killed, stopped, with clocks that jump
and disks that fail; then everything heals, and what was promised is checked on the histories.

usage: COTERIE=path/to/coterie CHAOS_CLIENT=path CHAOS_SHIM=path rack.py
         [--seconds S | --minutes M] [--seed N] [--schedule FILE] [--only KIND,...] [--without KIND,...]
         [--nodes N] [--pace F] [--ttl S] [--keep DIR]
CHECK_HISTORY, when given, is a program that judges the histories of locks and journals too (--model lock|journal FILE).
Needs root, iproute2 and iptables; without them it exits with 77 and says what is missing.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import checks
import faults
import network
import shim
from guard import guard
from nodes import COTERIE, check, cluster, eventually, finish, results

PORT = 7400
LOCKS, JOBS = ("stock", "index", "mail", "bill", "ship"), ("tick", "all", "slow", "churn")


class rack(cluster):
    """Nodes by the letter of their namespace. state: up, stopped (SIGSTOP), ending (SIGTERM), failing (its disk), down."""

    def __init__(self, folder, names, options):
        super().__init__(folder, names)
        self.names, self.options = list(names), options
        self.network = network.network(self.names)
        self.seeds = ",".join(f"{a}:{PORT}" for a in self.network.addresses.values())
        self.state = {n: "down" for n in names}
        self.new = set()  # nodes whose identity the others may not know yet
        self.clients, self.stopped, self.asked, self.cannot = {}, set(), [], {}
        self.trouble = {n: [] for n in names}  # when a node or its client could not be expected to answer
        self.guard = guard(self.folder / "guard.sock")
        self.shims = {n: shim.control(self.folder / f"{n}.shim") for n in names}
        for n in names:
            (self.folder / f"{n}.toml").write_text(
                f'session-ttl = "{options.ttl}s"\n[runner.rack]\ncommand = ["{options.client}", "--start", "{self.folder}/starts.jsonl"]\n'
                f'timeout = "20s"\n[runner.rack.env]\nRACK_NODE = "{n}"\n')
        if why := self.network.can_shape("netem", "delay", "1ms"):
            self.cannot["netem"] = f"this kernel has no netem ({why}); loss by iptables and a slow queue take its place"
        if why := self.network.can_shape("tbf", "rate", "1mbit", "burst", "10kb", "latency", "10ms"):
            self.cannot["slow"] = f"this kernel has no tbf ({why})"

    # nodes

    def start(self, name, *more):
        words = [COTERIE, "run", "--name", name, "--bind", f"{self.network.addresses[name]}:{PORT}", "--insecure",
                 "--seeds", self.seeds, "--data", str(self.folder / name), "--config", str(self.folder / f"{name}.toml"), *more]
        # Only the node itself is under the shim, not what brings it there.
        preload = [f"{k}={v}" for k, v in self.shims[name].environment(self.options.shim, self.folder / name).items()]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.nodes[name] = subprocess.Popen([*self.network.inside(name), "env", *preload, *words], stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log)
        self.state[name] = "up"

    def crash(self, name):
        if self.state[name] != "down":
            self.kill(name)
            self.state[name] = "down"

    def pause(self, name):
        self.signal(name, signal.SIGSTOP)
        self.state[name] = "stopped"

    def pause_client(self, name):
        self.clients[name].send_signal(signal.SIGSTOP)
        self.stopped.add(self.clients[name])

    def resume_client(self, name):
        self.clients[name].send_signal(signal.SIGCONT)
        self.stopped.discard(self.clients[name])

    def resume(self, name):
        if self.state[name] == "stopped":
            self.signal(name, signal.SIGCONT)
            self.state[name] = "up"

    def empty(self, name):
        shutil.rmtree(self.folder / name)
        self.new.add(name)

    def last_words(self, name):
        lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def watch(self, report):
        """No node ends but by a fault."""
        for n in self.names:
            if self.state[n] in ("up", "stopped") and (status := self.nodes[n].poll()) is not None:
                # A new node is told to wait as long as the others still believe in the one before.
                if not (n in self.new and status == 1 and "is taken" in self.last_words(n)):
                    report(f"{n} goes on", False, (status, self.last_words(n)))
                self.state[n] = "down"
                self.start(n)

    def incomplete(self):
        """The nodes that are not voters, as one that knows says; all when nobody does."""
        leader = self.leader_name()
        members = (self.json(leader, "members") or []) if leader else []
        return set(self.names) - {m["name"] for m in members if m["role"] == "voter" and m["state"] == "alive"}

    def leader_name(self):
        """The node that leads, if one that runs knows."""
        for n in self.names:
            if self.state[n] == "up":
                try:
                    status, out, _ = self.run(n, "--timeout", "500ms", "status", "--json", seconds=5)
                    s = json.loads(out) if status == 0 else {}
                except (subprocess.TimeoutExpired, json.JSONDecodeError):
                    continue
                if s.get("leader") and s.get("quorum"):
                    return s["leader"]
        return None

    # the command, without waiting for it

    def ask(self, name, words, judge):
        self.asked.append((subprocess.Popen(self.command(name, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), judge))

    def turn(self):
        now = time.monotonic_ns()
        for n, spans in self.trouble.items():
            if self.state[n] != "up" or self.shims[n].get("sync_stall_ms") or self.clients[n] in self.stopped:
                if spans and now - spans[-1][1] < 500_000_000:
                    spans[-1][1] = now
                else:
                    spans.append([now - 500_000_000, now])
        for process, judge in list(self.asked):
            if process.poll() is not None:
                self.asked.remove((process, judge))
                judge(process.returncode, *process.communicate())

    # the load

    def load(self):
        for i, n in enumerate(self.names):
            self.clients[n] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", self.options.client, "--socket", str(self.folder / n / "control.sock"), "--node", n,
                 "--guard", str(self.folder / "guard.sock"), "--history", str(self.folder / f"{n}.history.jsonl"),
                 "--notes", str(self.folder / f"{n}.notes.jsonl"), "--process", str(i * 32), "--seed", str(self.options.seed + i),
                 "--pace", str(self.options.pace)], stdin=subprocess.DEVNULL, stdout=open(self.folder / f"{n}.client.log", "wb"))

    def end(self):
        for p in [*self.clients.values(), *[a for a, _ in self.asked]]:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
                p.wait()
        super().end()
        self.guard.shutdown()
        self.network.close()


class once:
    """Counts what is checked many times as one: says it when it fails, and at the end."""

    def __init__(self):
        self.seen = {}

    def __call__(self, what, good, seen=""):
        kind = what.split(" ", 1)[1]
        tried, failed = self.seen.get(kind, (0, 0))
        self.seen[kind] = (tried + 1, failed + (not good))
        if not good:
            check(what, False, seen)

    def finish(self):
        for kind, (tried, failed) in self.seen.items():
            if not failed:
                check(f"each node {kind} ({tried} times)", True)


def form(r):
    for n in r.names:
        r.start(n)
    waits = [subprocess.Popen(r.command(n, "members", "--wait", str(len(r.names)), "--timeout", "40s"), stdout=subprocess.DEVNULL) for n in r.names]
    return check("the nodes form a cluster", [p.wait() for p in waits] == [0] * len(waits))


def converge(r):
    waits = [subprocess.Popen(r.command(n, "members", "--wait", str(len(r.names)), "--timeout", "60s"), stdout=subprocess.DEVNULL) for n in r.names]
    check("all see each other again", [p.wait() for p in waits] == [0] * len(waits))

    def agreed():
        all_of_them = [r.json(n, "status") for n in r.names]
        return all(s and s["ready"] for s in all_of_them) and len({s["leader"] for s in all_of_them}) == 1 and all_of_them[0]["leader"]

    check("one leader, and all are ready", eventually(agreed, 40), [r.json(n, "status") for n in r.names])
    check("all are voters", eventually(lambda: not r.incomplete(), 40), r.run(r.names[0], "members"))


def drain(r):
    """First nobody begins anything, then everybody goes on to the end."""
    for c in r.clients.values():
        c.send_signal(signal.SIGUSR1)
    stopped = eventually(lambda: all("stopped" in (r.folder / f"{n}.client.log").read_text() for n in r.names), 90)
    check("all clients come to rest", stopped)
    for c in r.clients.values():
        c.send_signal(signal.SIGUSR2)
    ended = {}
    until = time.monotonic() + 60
    for n, c in r.clients.items():
        try:
            ended[n] = c.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            ended[n] = "still at it after 60 s"
    check("all journals are drained on all nodes", set(ended.values()) == {0}, ended)


def works(r):
    tries = {(n, k): subprocess.Popen(r.command(n, "lock", "exec", k, "--wait", "20s", "--", "true"), stderr=subprocess.DEVNULL)
             for n in r.names for k in LOCKS}
    eventually(lambda: all(p.poll() is not None for p in tries.values()), 40)
    not_taken = {t: p.poll() for t, p in tries.items() if p.poll() != 0}
    held = not_taken and r.run(r.names[0], "lock", "list")
    check("every lock can be taken from every node", not not_taken, (not_taken, held))
    for p in tries.values():
        p.kill()
        p.wait()
    starts = r.folder / "starts.jsonl"

    def lines():
        return len(starts.read_text().splitlines()) if starts.exists() else 0

    before = lines()
    check("jobs go on", eventually(lambda: lines() >= before + 3, 40), (before, lines(), r.run(r.names[0], "job", "list")))
    runs, until = [], time.monotonic_ns()
    for job in JOBS:
        for x in r.json(r.names[0], "job", "history", job, "--max", "1000") or []:
            runs.append(dict(x, job=job))
    return runs, until


def stop_all(r):
    for n in r.names:
        r.signal(n, signal.SIGTERM)
    ended = {}
    for n in r.names:
        try:
            ended[n] = r.nodes[n].wait(20)
        except subprocess.TimeoutExpired:
            ended[n] = "still running"
    check("SIGTERM ends each with 0", set(ended.values()) == {0}, ended)


def read_lines(folder, pattern):
    """Lines that were cut short by a kill are left out."""
    for path in sorted(pathlib.Path(folder).glob(pattern)):
        for line in path.read_text(errors="replace").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                pass


def judge(r, runs, until, quiet):
    """Direct checks on what was recorded, then the outside checker's opinion."""
    def exported(o):  # a fence is a plain number there
        return {k: v["fence"] if isinstance(v, dict) and "fence" in v else v for k, v in o.items()}

    history = sorted(read_lines(r.folder, "*.history.jsonl"), key=lambda o: o["call"])
    notes = list(read_lines(r.folder, "*.notes.jsonl"))
    starts = list(read_lines(r.folder, "starts.jsonl"))
    for what, wrong in checks.all_of_them(history, notes, starts, runs, until, r.guard.writes, r.guard.versions, quiet, r.trouble):
        check(what, not wrong, f"{len(wrong)} times, the first {wrong[0]}"[:1500] if wrong else "")
    models = {"lock": ("acquire", "release", "lost"), "journal": ("append", "read")}
    for model, operations in models.items():
        path = r.folder / f"history-{model}.jsonl"
        path.write_text("".join(json.dumps(exported(o)) + "\n" for o in history if o["op"] in operations))
        if checker := os.environ.get("CHECK_HISTORY"):
            done = subprocess.run([checker, "--model", model, str(path)], capture_output=True, text=True)
            check(f"the history of the {model}s is linearizable", done.returncode == 0, (done.stdout + done.stderr)[-2000:])
    return history, starts


def summary(r, player, history, starts, seconds):
    known = sum(o["return"] is not None for o in history)
    refused = sum(isinstance(o["output"], dict) and "error" in o["output"] for o in history)
    print(f"{len(history)} operations: {known - refused} acknowledged, {refused} refused, {len(history) - known} unknown; {len(starts)} job starts, "
          f"{len(r.guard.writes)} guarded writes")
    print(f"{sum(v for k, v in player.counts.items() if k != 'bytes lost')} faults in {seconds:.0f} s: "
          + ", ".join(f"{v} {k}" for k, v in sorted(player.counts.items())))
    for kind, why in r.cannot.items():
        print(f"without {kind}: {why}")


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=45)
    p.add_argument("--minutes", type=float)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    p.add_argument("--schedule", type=pathlib.Path)
    p.add_argument("--only", type=lambda s: set(s.split(",")))
    p.add_argument("--without", type=lambda s: set(s.split(",")), default=set())
    p.add_argument("--nodes", type=int, default=5)
    p.add_argument("--pace", type=float)
    p.add_argument("--ttl", type=int, default=3)
    p.add_argument("--keep", type=pathlib.Path)
    o = p.parse_args()
    kinds = {k for _, choices in faults.LANES.values() for k in choices}
    if unknown := ((o.only or set()) | o.without) - kinds:
        p.error(f"no fault is called {', '.join(sorted(unknown))}: there are {', '.join(sorted(kinds))}")
    o.kinds = (o.only or kinds) - o.without
    if o.minutes:
        o.seconds = o.minutes * 60
    o.pace = o.pace or (1 if o.seconds <= 120 else 4)
    o.client, o.shim = os.environ["CHAOS_CLIENT"], os.environ["CHAOS_SHIM"]
    return o


def run(r, o):
    """Healthy, then faults, then healed: the load goes on through all of it."""
    if not form(r):
        return
    r.load()
    quiet = [[time.monotonic_ns(), 0]]
    time.sleep(3)
    quiet[0][1] = time.monotonic_ns()
    drawn = [json.loads(x) for x in o.schedule.read_text().splitlines()] if o.schedule else faults.draw(o.seed, o.seconds, len(r.names), o.kinds)
    report = once()
    with open(r.folder / "schedule.jsonl", "w") as trail:
        player = faults.player(r, drawn, trail, report)
        while player.now() < o.seconds + 0.5 and results["failed"] < 20:
            player.turn()
            r.turn()
            r.watch(report)
            time.sleep(0.02)
        seconds = player.now()
        player.heal()
        while player.todo:
            player.turn()
            time.sleep(0.02)
        while r.asked:
            r.turn()
            time.sleep(0.02)
    report.finish()
    converge(r)
    time.sleep(3)
    quiet.append([time.monotonic_ns(), 0])
    time.sleep(5)
    quiet[1][1] = time.monotonic_ns()
    drain(r)
    runs, until = works(r)
    stop_all(r)
    history, starts = judge(r, runs, until, quiet)
    summary(r, player, history, starts, seconds)


def main():
    o = parse()
    if o.keep:
        o.keep.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="coterie-rack-", dir=o.keep))
    with network.ended_in_any_case(lambda: rack(folder, "abcdefgh"[:o.nodes], o), folder) as r:
        print(f"seed {o.seed}, {o.seconds:.0f} s of faults on {o.nodes} nodes in {folder}", flush=True)
        run(r, o)
    if results["failed"] or o.keep:
        print(f"logs, histories and schedule.jsonl are in {folder}")
    else:
        shutil.rmtree(folder)
    finish()


if __name__ == "__main__":
    main()
