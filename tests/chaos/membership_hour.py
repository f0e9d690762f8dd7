#!/usr/bin/env python3
"""One hour of 16 real agents of gossip alone, in network namespaces that this script makes: one of them is stopped for 0.1 to 3 s every
10 s, and 5 % of all datagrams are lost. Nobody who runs is declared unreachable by anybody.

usage: COTERIE=path/to/coterie membership_hour.py [--minutes M] [--seed N] [--keep DIR]
Needs root, iproute2 and iptables; without them it exits with 77 and says what is missing.
"""

import argparse
import collections
import datetime
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import network
from nodes import COTERIE, check, cluster, eventually, finish, results

PORT = 7400
NAMES = "abcdefghijklmnop"
LOSS = 0.05
EVERY = 10.0
SHORTEST, LONGEST = 0.1, 3.0


class agents(cluster):
    """Agents by the letter of their namespace, each with a subscription to its events: `told` has (agent, event) as they come."""

    def __init__(self, folder):
        super().__init__(folder, NAMES)
        self.network = network.network(NAMES)
        self.seeds = ",".join(f"{self.network.addresses[n]}:{PORT}" for n in NAMES[:3])
        self.subscriptions, self.told = {}, []

    def start(self, name, *more):
        words = [*self.network.inside(name), COTERIE, "run", "--gossip-only", "--insecure", "--name", name,
                 "--bind", f"{self.network.addresses[name]}:{PORT}", "--seeds", self.seeds, *more]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.nodes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def command(self, name, *words):
        return [COTERIE, "--node", str(self.folder / "run" / "coterie" / f"{name}-{self.nodes[name].pid}.sock"), *words]

    def subscribe(self, name):
        words = ["setpriv", "--pdeathsig", "KILL", "--", *self.command(name, "events", "--json")]
        self.subscriptions[name] = p = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: [self.told.append((name, json.loads(line))) for line in p.stdout], daemon=True).start()

    def events(self, kind):
        """(when, who says it, of whom, why), in the wall clock's seconds."""
        return [(datetime.datetime.fromisoformat(e["time"].replace("Z", "+00:00")).timestamp(), who, e["node"], e["evidence"])
                for who, e in list(self.told) if e["kind"] == kind]

    def end(self):
        for p in self.subscriptions.values():
            p.kill()
            p.wait()
        super().end()
        self.network.close()


def form(a):
    for n in NAMES:
        a.start(n)
    check("the agents see each other", a.wait(len(NAMES), seconds="30s") == [0] * len(NAMES))
    for n in NAMES:
        a.subscribe(n)


def play(a, seconds, r):
    """The spans in which an agent was stopped: (from, to) by agent, in the wall clock's seconds."""
    stops = collections.defaultdict(list)
    began = time.monotonic()
    for i in range(int(seconds / EVERY)):
        victim, lasts = r.choice(NAMES), r.uniform(SHORTEST, LONGEST)
        begun = time.time()
        a.signal(victim, signal.SIGSTOP)
        time.sleep(lasts)
        a.signal(victim, signal.SIGCONT)
        stops[victim].append((begun, time.time()))
        print(f"{time.monotonic() - began:7.1f} {victim} was stopped for {lasts:.1f} s", flush=True)
        time.sleep(max(0, began + (i + 1) * EVERY - time.monotonic()))
    return stops


def judge(a, stops):
    """Of those that were declared unreachable: while they were stopped, and while they ran. Of the latter those that somebody else had
    declared while they were stopped, so that it was only passed on late."""
    declared = sorted(a.events("member.unreachable"))

    def stop_at(who, when):
        return next((s for s in stops[who] if s[0] <= when <= s[1]), None)

    real = [(of, stop_at(of, at)) for at, _, of, _ in declared if stop_at(of, at)]
    false = [d for d in declared if not stop_at(d[2], d[0])]
    late = [d for d in false if any(of == d[2] and s[1] <= d[0] <= s[1] + EVERY for of, s in real)]
    for at, who, of, why in false:
        resumed = max((s[1] for s in stops[of] if s[1] < at), default=None)
        since = f"{at - resumed:.3f} s after it was resumed" if resumed else "never stopped before"
        print(f"{of} was declared unreachable by {who}, {since}: {why}")
    print(f"{sum(map(len, stops.values()))} stops, {len(a.events('member.suspect'))} suspicions, {len(a.events('member.alive'))} refutations, "
          f"{a.network.lost()} datagrams dropped, {len(false)} false removals ({len(late)} of them passed on late), "
          f"{len(real)} declarations of {len(set(real))} agents that were stopped at that moment")
    check("nobody who runs is declared unreachable", not false, f"{len(false)} times")


def run(a, o):
    form(a)
    if results["failed"]:
        return
    a.network.lose({n: LOSS for n in NAMES}, "udp")
    stops = play(a, o.minutes * 60, random.Random(o.seed))
    everybody = eventually(lambda: a.wait(len(NAMES), seconds="5s") == [0] * len(NAMES), 60)
    check("in the end all see each other", everybody, a.run(NAMES[0], "members"))
    check("no agent and no subscription has ended", len(a.running()) == len(NAMES) and all(p.poll() is None for p in a.subscriptions.values()))
    judge(a, stops)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    p.add_argument("--keep", type=pathlib.Path)
    o = p.parse_args()
    if o.keep:
        o.keep.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="coterie-hour-", dir=o.keep))
    with network.ended_in_any_case(lambda: agents(folder), folder) as a:
        print(f"seed {o.seed}, {o.minutes:g} minutes of {len(NAMES)} agents in {folder}", flush=True)
        run(a, o)
        (folder / "events.jsonl").write_text("".join(json.dumps({"agent": who, **e}) + "\n" for who, e in a.told))
    if results["failed"] or o.keep:
        print(f"logs and events.jsonl are in {folder}")
    else:
        shutil.rmtree(folder)
    finish()


if __name__ == "__main__":
    main()
