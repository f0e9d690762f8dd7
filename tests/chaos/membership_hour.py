#!/usr/bin/env python3
"""One hour of 16 real agents of gossip alone, in network namespaces that this script makes: one of them is stopped for 0.1 to 3 s every
10 s, and 5 % of all datagrams are lost. Nobody is called unreachable but whom somebody gave up while it stood still.

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
ANSWER = 0.04       # an answer may take so long before anybody misses it (docs/membership.md 1)
COMES_AROUND = 1.0  # a statement, with 5 % loss; measured without loss: 0.1 s at 100 agents (docs/membership.md 3)


class agents(cluster):
    """Agents by the letter of their namespace, each with a subscription to its events: `told` has (agent, event) as they come."""

    def __init__(self, folder):
        super().__init__(folder, NAMES)
        self.network = network.network(NAMES)
        self.seeds = ",".join(f"{self.network.addresses[n]}:{PORT}" for n in NAMES[:3])
        self.subscriptions, self.told = {}, []
        self.kept = {what: open(self.folder / f"{what}.jsonl", "w", buffering=1) for what in ("events", "stops")}

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
        threading.Thread(target=lambda: [self.hear(name, json.loads(line)) for line in p.stdout], daemon=True).start()

    def hear(self, name, event):
        self.told.append((name, event))
        self.kept["events"].write(json.dumps({"agent": name, **event}) + "\n")

    def events(self, kind):
        """(when, who says it, of whom, all that it says), in the wall clock's seconds."""
        return [(datetime.datetime.fromisoformat(e["time"].replace("Z", "+00:00")).timestamp(), who, e["node"], e)
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
        a.kept["stops"].write(json.dumps({"agent": victim, "from": begun, "to": stops[victim][-1][1]}) + "\n")
        print(f"{time.monotonic() - began:7.1f} {victim} was stopped for {lasts:.1f} s", flush=True)
        time.sleep(max(0, began + (i + 1) * EVERY - time.monotonic()))
    return stops


def classify(declared, stops):
    """What each declaration (when, who says it, of whom, who concluded it) is, beside itself:
    own    its teller concluded it by itself while the accused stood still;
    crossed  the same, when the accused had gone on and no sign of it could be expected yet;
    heard  its teller heard it while the accused stood still;
    late   its teller heard it when the accused had gone on, within the time that a statement takes to come around;
    false  anything else: nobody concluded it while the accused stood still, or it came around too late."""
    def stop_at(who, when, longer=0.0):
        return next((s for s in stops.get(who, ()) if s[0] <= when <= s[1] + longer), None)

    concluded = collections.defaultdict(list)
    for at, who, of, by in declared:
        if who == by:
            concluded[by, of].append(stop_at(of, at, ANSWER))

    def kind(at, who, of, by):
        stop = stop_at(of, at)
        if who == by:
            return "own" if stop else "crossed" if stop_at(of, at, ANSWER) else "false"
        if stop:
            return "heard" if stop in concluded[by, of] else "false"
        return "late" if any(s and s[1] < at <= s[1] + COMES_AROUND for s in concluded[by, of]) else "false"

    return [(*d, kind(*d)) for d in declared]


def judge(a, stops):
    """A verdict is true when whoever concluded it did so while the accused stood still. That others hear of it when the accused has just
    gone on makes it no less true: neither the verdict nor the refutation is everywhere at once."""
    judged = classify(sorted((at, who, of, e["by"]) for at, who, of, e in a.events("member.unreachable")), stops)
    counts = collections.Counter(kind for *_, kind in judged)
    for at, who, of, by, kind in judged:
        if kind not in ("crossed", "late", "false"):
            continue
        resumed = max((s[1] for s in stops[of] if s[1] < at), default=None)
        since = f"{at - resumed:.3f} s after it was resumed" if resumed else "never stopped before"
        print(f"{kind}: {who} shows {of} as unreachable, {since}, concluded by {by}")
    stood = {(of, s) for at, _, of, _, kind in judged if kind == "own" for s in stops[of] if s[0] <= at <= s[1]}
    print(f"{sum(map(len, stops.values()))} stops, {len(a.events('member.suspect'))} suspicions, {len(a.events('member.alive'))} refutations, "
          f"{a.network.lost()} datagrams dropped; in {len(stood)} stops {counts['own']} agents concluded that the stopped one is "
          f"unreachable, {counts['crossed']} as it went on, {counts['heard']} heard it meanwhile and {counts['late']} when it had just gone on; {counts['false']} false removals")
    check("nobody is called unreachable but whom somebody gave up while it stood still", not counts["false"], f"{counts['false']} times")


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
    if results["failed"] or o.keep:
        print(f"logs, events.jsonl and stops.jsonl are in {folder}")
    else:
        shutil.rmtree(folder)
    finish()


if __name__ == "__main__":
    main()
