"""The rack's faults: drawn from a seed before the run, played while it goes, each line printed as it happens and written to a file
that can be played again. Knows what a fault does to a node, and what the node is documented to do then."""

import heapq
import itertools
import json
import random
import time

CRASHED = {"kill", "power", "unreadable", "sync_fails", "no_space", "wipe", "lying"}
DESTROYED = {"wipe", "lying"}  # one disk at a time: the next one only when all nodes are voters again


# ---- drawing ----------------------------------------------------------------------------------------------------------

# Each lane goes on by itself; its faults do not overlap each other. Weight, and how long one lasts in seconds.
LANES = {
    "process": (2.5, {"kill": (4, 0.2, 3), "stop": (4, 0.1, 8), "stop_client": (1, 0.1, 6), "terminate": (1, 0.3, 2),
                      "kill_all": (0.4, 0.1, 1)}),
    "network": (3.0, {"halves": (3, 1, 8), "isolate": (3, 0.5, 8), "one_way": (2, 1, 7), "bridge": (1, 2, 8), "lossy": (2, 1, 6),
                      "slow": (1, 1, 5), "netem": (2, 1, 6)}),
    "disk": (4.0, {"power": (4, 0.2, 2), "power_all": (1, 0.2, 1), "stalled_power": (1, 0.2, 1), "sync_fails": (2, 0.3, 1),
                   "no_space": (1, 0.3, 1), "low": (1, 3, 5), "stall": (3, 1, 5), "unreadable": (1, 0.3, 1),
                   "wipe": (0.4, 0.2, 1), "lying": (0.4, 2, 4)}),
    "clock": (5.0, {"jump": (1, 1, 6)}),
}


def draw(seed, seconds, count, kinds=None):
    """The faults of one run, of these kinds or all, in the order in which they begin: each a dictionary that JSON can hold."""
    faults = []
    for lane, (pause, choices) in LANES.items():
        r = random.Random(f"{seed}/{lane}")
        names = [k for k in choices if kinds is None or k in kinds]
        at = r.uniform(0.2, pause)
        while names and at < seconds:
            kind = r.choices(names, [choices[k][0] for k in names])[0]
            low, high = choices[kind][1:]
            lasts = round(min(low * (high / low) ** r.random(), max(seconds - at, low)), 2)
            faults.append({"at": round(at, 2), "kind": kind, "for": lasts, **parameters(kind, r, count)})
            at += lasts + r.uniform(0.3, pause)
    return sorted(faults, key=lambda f: f["at"])


def parameters(kind, r, count):
    nodes = list(range(count))
    r.shuffle(nodes)
    # "leader" first: whoever leads when it begins, then the others in this order.
    victims = (["leader"] if r.random() < 0.4 else []) + nodes
    if kind == "kill":
        return {"nodes": victims, "many": r.choice([1, 1, 1, 2])}
    if kind == "halves":
        return {"nodes": victims, "many": r.randint(1, count // 2), "refusing": r.random() < 0.2}
    if kind == "one_way":
        return {"nodes": victims, "many": 1, "outbound": r.random() < 0.5, "to_all": r.random() < 0.5}
    if kind == "bridge":
        return {"nodes": nodes, "many": count}
    if kind == "lossy":
        return {"nodes": victims, "many": r.choice([1, 2, count]), "share": round(r.uniform(0.05, 0.4), 2)}
    if kind == "netem":
        return {"nodes": victims, "many": r.choice([1, 2, count]), "delay": r.randint(5, 150), "loss": r.randint(0, 15), "reorder": r.randint(0, 30),
                "duplicate": r.randint(0, 10)}
    if kind == "stall":
        return {"nodes": victims, "many": r.choice([1, 1, 2]), "ms": r.choice([5, 20, 80, 400, 1500])}
    if kind == "jump":
        return {"nodes": victims, "many": r.choice([1, 1, 2, count]), "seconds": r.choice([-3600, -30, -5, -0.7, 0.3, 0.7, 3, 6])}
    if kind == "unreadable":
        return {"nodes": victims, "many": 1, "read": r.choice([1, 2, 5, 10, 20, 40])}
    if kind == "stalled_power":
        return {"nodes": victims, "many": r.choice([1, count, count]), "ms": r.choice([300, 800, 2000])}
    if kind in ("power_all", "kill_all"):
        return {"nodes": nodes, "many": count}
    if kind == "sync_fails":
        return {"nodes": victims, "many": 1, "power_after": r.choice([0, 0, 0.5, 2])}
    return {"nodes": victims, "many": 1}


# ---- playing ----------------------------------------------------------------------------------------------------------

class player:
    """Performs a list of faults on a rack, from one thread; `turn` is called again and again."""

    def __init__(self, rack, faults, trail, report):
        self.rack, self.trail, self.report = rack, trail, report
        self.random = random.Random(repr(faults[:1]))
        self.todo, self.order, self.began = [], itertools.count(), time.monotonic()
        self.counts, self.skipped = {}, {}
        self.restarted = {}  # what to do when a node is started
        for f in faults:
            self.later(f["at"], lambda f=f: self.begin(f))

    def now(self):
        return time.monotonic() - self.began

    def later(self, at, what):
        heapq.heappush(self.todo, (at, next(self.order), what))

    def after(self, seconds, what):
        self.later(self.now() + seconds, what)

    def turn(self):
        while self.todo and self.todo[0][0] <= self.now():
            heapq.heappop(self.todo)[2]()

    def say(self, text):
        print(f"{self.now():7.2f} {text}", flush=True)

    def begin(self, fault):
        kind = fault["kind"]
        if kind in self.rack.cannot:
            self.skipped[kind] = self.skipped.get(kind, 0) + 1
            return
        names = self.choose(fault)
        if not names:
            self.skipped[kind] = self.skipped.get(kind, 0) + 1
            return
        done = dict(fault, at=round(self.now(), 2), nodes=[self.rack.names.index(n) for n in names], many=len(names))
        self.trail.write(json.dumps(done) + "\n")
        self.trail.flush()
        more = {k: v for k, v in fault.items() if k not in ("at", "kind", "for", "nodes", "many")}
        self.say(f"{kind} {' '.join(names)} for {fault['for']} s {more or ''}".rstrip())
        self.counts[kind] = self.counts.get(kind, 0) + 1
        getattr(self, "do_" + kind)(names, fault)

    def choose(self, fault):
        """The nodes that it happens to. No fault of a process or a disk begins on a node that is down, and those of one node leave a
        majority running, except where all are meant."""
        names = []
        for n in fault["nodes"]:
            n = self.rack.leader_name() if n == "leader" else self.rack.names[n]
            if n and n not in names:
                names.append(n)
        kind, many = fault["kind"], fault["many"]
        if kind in LANES["network"][1] or kind in ("jump", "stop_client", "power_all", "stalled_power", "kill_all"):
            return names[:many]
        names = [n for n in names if self.rack.state[n] == "up" and not (kind in DESTROYED and self.rack.incomplete())]
        if kind in CRASHED | {"stop", "terminate"}:
            many = min(many, len(self.rack.names) // 2 - sum(s != "up" for s in self.rack.state.values()))
        return names[:max(many, 0)]

    def heal(self):
        """Nothing begins any more, and what was begun ends."""
        self.todo = []
        self.restarted.clear()
        self.rack.network.cut([])
        self.rack.network.lose({})
        for n in self.rack.names:
            self.rack.network.shape(n)
            self.rack.shims[n].clear()
            self.rack.resume(n)
            self.rack.resume_client(n)
        for n in self.rack.names:
            if self.rack.state[n] in ("ending", "failing"):
                losing = self.rack.state[n] == "failing"
                self.rack.crash(n)
                if losing:
                    self.lose(n)
            self.up(n)
        self.say("everything heals")

    # processes

    def up(self, name, *more):
        if self.rack.state[name] == "down":
            self.rack.shims[name].set(fail_sync=0, no_space=0, fail_reads=0, low_space=0)
            self.rack.start(name, *more)
            self.restarted.pop(name, lambda: None)()

    def do_kill(self, names, fault):
        for n in names:
            self.rack.crash(n)
            self.after(fault["for"], lambda n=n: self.up(n))

    do_kill_all = do_kill

    def do_stop(self, names, fault):
        for n in names:
            self.rack.pause(n)
            self.after(fault["for"], lambda n=n: self.rack.resume(n))

    def do_stop_client(self, names, fault):
        for n in names:
            self.rack.pause_client(n)
            self.after(fault["for"], lambda n=n: self.rack.resume_client(n))

    def do_terminate(self, names, fault):
        for n in names:
            process = self.rack.nodes[n]
            process.terminate()
            self.rack.state[n] = "ending"
            self.expect_end(n, process, 20, [0], "ends within 20 s of SIGTERM with 0", fault["for"])

    def expect_end(self, name, process, seconds, statuses, what, down, text="", losing=False, only_if=lambda: True):
        """The process ends by itself, with one of these and with this in its last words; then it comes back. It may go on when the
        fault did not come to pass."""
        until = time.monotonic() + seconds

        def look():
            if self.rack.nodes[name] is not process or (self.rack.state[name] == "down"):
                return  # another fault got it first
            status = process.poll()
            if status is None and time.monotonic() < until:
                return self.after(0.1, look)
            words = self.rack.last_words(name)
            if status is None and not only_if():
                self.rack.shims[name].clear()
                self.rack.state[name] = "up"
                return
            if status is None:
                self.report(f"{name} {what}", False, f"it still runs after {seconds} s: {words}")
                self.rack.crash(name)
            else:
                self.report(f"{name} {what}", status in statuses and text in words, (status, words))
                self.rack.state[name] = "down"
            if losing:
                self.lose(name)
            self.after(down, lambda: self.up(name))

        look()

    # the network

    def do_cut(self, pairs, fault):
        self.rack.network.cut(pairs, fault.get("refusing", False))
        self.after(fault["for"], lambda: self.rack.network.cut([]))

    def do_halves(self, names, fault):
        rest = [n for n in self.rack.names if n not in names]
        self.do_cut({p for a in names for b in rest for p in ((a, b), (b, a))}, fault)

    do_isolate = do_halves

    def do_one_way(self, names, fault):
        one, rest = names[0], [n for n in self.rack.names if n != names[0]]
        if not fault["to_all"]:
            rest = rest[:2]
        self.do_cut({(one, n) if fault["outbound"] else (n, one) for n in rest}, fault)

    def do_bridge(self, names, fault):
        """Two groups that see each other only through one node between them."""
        half = len(names) // 2
        left, right = names[:half], names[half + 1:]
        self.do_cut({p for a in left for b in right for p in ((a, b), (b, a))}, fault)

    def do_lossy(self, names, fault):
        self.rack.network.lose({n: fault["share"] for n in names})
        self.after(fault["for"], lambda: self.rack.network.lose({}))

    def shape(self, names, fault, *discipline):
        for n in names:
            self.rack.network.shape(n, *discipline)
            self.after(fault["for"], lambda n=n: self.rack.network.shape(n))

    def do_slow(self, names, fault):
        self.shape(names, fault, "tbf", "rate", "300kbit", "burst", "10kb", "latency", "400ms")

    def do_netem(self, names, fault):
        self.shape(names, fault, "netem", "delay", f"{fault['delay']}ms", f"{fault['delay'] // 2}ms", "loss", f"{fault['loss']}%",
                   "reorder", f"{fault['reorder']}%", "duplicate", f"{fault['duplicate']}%")

    # disks

    def lose(self, name):
        if self.rack.shims[name].get("lying"):
            return 0  # that is another fault's matter
        lost = self.rack.shims[name].lose_unsynced(self.rack.folder / name, self.random)
        self.counts["bytes lost"] = self.counts.get("bytes lost", 0) + lost
        return lost

    def do_power(self, names, fault):
        for n in names:
            if self.rack.state[n] != "down":
                self.rack.crash(n)
        for n in names:
            self.lose(n)
            self.after(fault["for"], lambda n=n: self.up(n))

    do_power_all = do_power

    def do_stalled_power(self, names, fault):
        """Syncs take long, and before they are done the power goes: what was acknowledged meanwhile was acknowledged too early."""
        for n in names:
            self.rack.shims[n].set(sync_stall_ms=fault["ms"])

        def power_goes():
            for n in names:
                self.rack.shims[n].set(sync_stall_ms=0)
            self.do_power(names, fault)

        self.after(0.4 + fault["ms"] / 2000, power_goes)

    def do_sync_fails(self, names, fault):
        """With a loss of power, before it starts again or so many seconds after that: what it found and counted must be there still."""
        for n in names:
            self.rack.shims[n].set(fail_sync=1)
            later = fault["power_after"]
            self.fatal(n, fault, "ends by itself after a failed sync", losing=not later)
            if later:
                self.restarted[n] = lambda n=n: self.after(later, lambda: self.rack.state[n] == "up" and self.do_power([n], fault))

    def do_no_space(self, names, fault):
        for n in names:
            self.rack.shims[n].set(no_space=1)
            self.fatal(n, fault, "ends by itself after a write without space")

    def fatal(self, name, fault, what, losing=True):
        self.rack.state[name] = "failing"
        self.expect_end(name, self.rack.nodes[name], 30, [1], what, fault["for"], "failed", losing=losing)

    def do_low(self, names, fault):
        for n in names:
            process = self.rack.nodes[n]
            self.rack.shims[n].set(low_space=1)

            def still():
                return self.rack.nodes[n] is process and self.rack.state[n] == "up" and self.rack.shims[n].get("low_space")

            def ask():
                if still():
                    self.rack.ask(n, ["--timeout", "2s", "journal", "append", "audit", "t", f"low {time.monotonic_ns()}"], judge)

            def judge(status, out, err):
                if still():
                    self.report(f"{n} refuses data when its disk is nearly full", status != 0 and "nearly full" in err, (status, out, err))

            self.after(1.7, ask)
            self.after(fault["for"], lambda: self.rack.shims[n].set(low_space=0))

    def do_stall(self, names, fault):
        for n in names:
            self.rack.shims[n].set(sync_stall_ms=fault["ms"])
            self.after(fault["for"], lambda n=n: self.rack.shims[n].set(sync_stall_ms=0))

    def do_unreadable(self, names, fault):
        """The disk can't be read when it starts again, from some read on: it says so and ends; when the disk can be read again it starts."""
        for n in names:
            self.rack.crash(n)
            before = self.rack.shims[n].count("reads_failed")
            self.rack.shims[n].set(fail_reads=fault["read"])
            self.rack.start(n)
            self.rack.state[n] = "failing"
            self.expect_end(n, self.rack.nodes[n], 8, [1], "does not go on with a disk that can't be read", fault["for"], "coterie: ",
                            only_if=lambda n=n: self.rack.shims[n].count("reads_failed") > before)

    def do_wipe(self, names, fault):
        """Its disk is replaced by an empty one: it is a new node at the old one's place, as soon as the others miss the old one."""
        for n in names:
            self.rack.crash(n)
            self.replace(n)
            self.after(fault["for"], lambda n=n: self.up(n))

    def replace(self, name):
        self.rack.shims[name].forget_files()
        self.rack.empty(name)

    def do_lying(self, names, fault):
        """Its disk forgets what it said was synced, and then the power goes: the node must not go on as if nothing was missing."""
        name = names[0]
        self.rack.new.add(name)
        self.rack.shims[name].set(lying=1)

        def power_goes():
            self.rack.crash(name)
            self.rack.shims[name].set(lying=0)
            if not self.lose(name):  # all of it happened to reach the disk
                return self.after(0.1, lambda: self.up(name))
            self.rack.start(name)
            self.rack.state[name] = "failing"
            self.after(0.1, lambda: look(self.rack.nodes[name], time.monotonic() + 8))

        def look(process, until):
            if self.rack.nodes[name] is not process or self.rack.state[name] == "down":
                return
            if process.poll() is None and time.monotonic() < until:
                return self.after(0.1, lambda: look(process, until))
            words = self.rack.last_words(name)
            rejoin = "has lost writes" in words and "--rejoin" in words
            self.report(f"{name} does not go on from a disk that lost synced writes", process.returncode == 1 and (rejoin or "is damaged" in words),
                        (process.returncode, words))
            self.rack.crash(name)
            if not rejoin:
                self.replace(name)
            self.up(name, *["--rejoin"] * rejoin)

        self.after(fault["for"], power_goes)

    # clocks

    def do_jump(self, names, fault):
        for n in names:
            self.rack.shims[n].set_clock(fault["seconds"])
            self.after(fault["for"], lambda n=n: self.rack.shims[n].set_clock(0))
