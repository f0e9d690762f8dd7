#!/usr/bin/env python3
"""Fresh seeds of the simulator on all cores: tools/sweep. Ends with what was covered and `SEEDS seeds, VIOLATIONS violations`.

usage: sweep.py SIM KEEP [--seconds S] [--seeds N] [--first SEED]
  SIM is the built simulator; KEEP is the directory for what failed: its schedule, cut down to the needed faults, and its trace.
"""

import argparse
import os
import pathlib
import selectors
import subprocess
import sys
import time

CHUNK = 20  # seeds of one process


def arguments():
    p = argparse.ArgumentParser(prog="tools/sweep", description="Runs fresh seeds of the simulator on all cores.")
    p.add_argument("sim")
    p.add_argument("keep", type=pathlib.Path)
    p.add_argument("--seconds", type=float, help="stop after so long (without --seeds: 60)")
    p.add_argument("--seeds", type=int, help="so many")
    p.add_argument("--first", type=int, help="the first one; default: from the clock, so that each sweep has others")
    a = p.parse_args()
    if a.seconds is None and a.seeds is None:
        a.seconds = 60
    if a.first is None:
        a.first = int(time.time()) * 1000
    return a


class sweep:
    def __init__(self, a):
        self.a, self.next, self.begun = a, a.first, time.monotonic()
        self.end = None if a.seeds is None else a.first + a.seeds
        self.selector = selectors.DefaultSelector()
        self.running, self.failed, self.broken = {}, [], []
        self.seeds = self.counted = self.operations = self.leaders = self.crashes = self.partitions = 0
        self.virtual = 0.0

    def over(self):
        late = self.a.seconds is not None and time.monotonic() - self.begun >= self.a.seconds
        return late or (self.end is not None and self.next >= self.end)

    def start(self):
        count = CHUNK if self.end is None else min(CHUNK, self.end - self.next)
        words = [self.a.sim, "--progress", "--repeat-every", "10", "--first", str(self.next), "--seeds", str(count)]
        p = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.running[p] = (self.next, count, [])
        self.selector.register(p.stdout, selectors.EVENT_READ, p)
        self.next += count

    def line(self, p, text):
        words = text.split()
        if len(words) < 8 or words[0] != "seed" or words[2] not in ("ok", "VIOLATION"):
            self.running[p][2].append(text)
            return
        self.seeds += 1
        operations, leaders, crashes, partitions = map(int, words[4:8])
        self.counted += crashes > 0 and leaders > 1
        self.virtual += float(words[3])
        self.operations += operations
        self.leaders += max(0, leaders - 1)
        self.crashes += crashes
        self.partitions += partitions
        if words[2] == "VIOLATION":
            self.failed.append(int(words[1]))
            self.save(int(words[1]))

    def ended(self, p):
        self.selector.unregister(p.stdout)
        first, count, rest = self.running.pop(p)
        if p.wait() not in (0, 1):  # an assertion: which seed, tells the one that is missing
            self.broken.append((first, count))
            print(f"\nseeds {first} to {first + count - 1}: the simulator ended with {p.returncode}: " + "".join(rest)[-500:])

    def save(self, seed):
        self.a.keep.mkdir(parents=True, exist_ok=True)
        for name, words in (("shrunk", ["--shrink"]), ("trace", ["--trace"])):
            with open(self.a.keep / f"{seed}.{name}", "w") as out:
                subprocess.run([self.a.sim, "--once", "--seed", str(seed), *words], stdout=out, stderr=out)
        print(f"\nseed {seed} failed: {self.a.keep}/{seed}.shrunk and .trace")

    def show(self, last=False):
        if not sys.stdout.isatty():
            return
        took = time.monotonic() - self.begun
        parts = [took / self.a.seconds if self.a.seconds else 0, self.seeds / self.a.seeds if self.a.seeds else 0]
        done = min(1.0, max(parts))
        left = took / done - took if done > 0.01 else 0
        bar = "#" * int(done * 20)
        text = f"[{bar:-<20}] {done:4.0%}  {self.seeds} seeds, {len(self.failed)} failed, {left:.0f} s left"
        print("\r\033[K" + ("" if last else text), end="", flush=True)

    def run(self):
        cores = os.cpu_count() or 1
        while True:
            while len(self.running) < cores and not self.over():
                self.start()
            if not self.running:
                break
            for key, _ in self.selector.select(timeout=1):
                text = key.fileobj.readline()
                if text:
                    self.line(key.data, text)
                else:
                    self.ended(key.data)
            self.show()
        self.show(last=True)
        took = time.monotonic() - self.begun
        print(f"{self.virtual / 3600:.1f} virtual hours in {took:.0f} s, {self.operations} client operations, {self.leaders} leader changes, "
              f"{self.crashes} crashes, {self.partitions} partitions")
        print(f"{self.counted} seeds, {len(self.failed) + len(self.broken)} violations")
        return 1 if self.failed or self.broken or self.counted == 0 else 0


sys.exit(sweep(arguments()).run())
