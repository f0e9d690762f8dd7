#!/usr/bin/env python3
"""What must hold when real processes die, stop, and come back: locks, jobs, journals, formation, bad input.

usage: COTERIE=path/to/coterie faults.py [PART...]          (COTERIE_SCALE=25 for the long form)
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from nodes import COTERIE, check, cluster, eventually, finish, free_ports

SCALE = int(os.environ.get("COTERIE_SCALE", "1"))
TTL = 5.0


def silent_seed(folder):
    """One of three seeds accepts connections and never says a word: no cluster is formed without it, and whom it waits for is said."""
    home = pathlib.Path(folder) / "silent"
    home.mkdir()
    c = cluster(home)
    missing = f"127.0.0.1:{c.ports['c']}"
    try:
        with socket.create_server(("127.0.0.1", c.ports["c"])), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            u.bind(("127.0.0.1", c.ports["c"]))
            c.start("a")
            c.start("b")
            waits = lambda n: f"seeds 2 of 3 answer, waiting for {missing}" in c.run(n, "status")[1]
            check("status names the seed that is waited for", eventually(lambda: waits("a") and waits("b")), c.run("a", "status"))
            check("members --wait says that there is no cluster", c.run("a", "members", "--wait", "2", "--timeout", "1s")[0] == 5, c.run("a", "members", "--wait", "2", "--timeout", "1s"))
            status, _, err = c.run("a", "lock", "exec", "deploy", "--timeout", "1s", "--", "true")
            check("a lock is refused meanwhile", status == 104 and "status" in err, (status, err))
        c.start("c")
        check("when it answers the cluster is formed", c.wait(3) == [0, 0, 0])
    finally:
        c.end()


def missing_seed(folder):
    """One of three seeds never starts: an operator says so to one of the others, and those two form the cluster."""
    home = pathlib.Path(folder) / "missing"
    home.mkdir()
    c = cluster(home)
    addresses = {n: f"127.0.0.1:{c.ports[n]}" for n in "abc"}
    init = lambda *words: c.run("b", "cluster", "init", *words)
    try:
        c.start("a")
        c.start("b")
        waits = lambda n: f"seeds 2 of 3 answer, waiting for {addresses['c']}" in c.run(n, "status")[1]
        check("both wait for the third seed", eventually(lambda: waits("a") and waits("b")), c.run("b", "status"))
        done = init()
        check("cluster init alone is no command", done[0] == 2 and "--without" in done[2], done)
        done = init("--without", "127.0.0.1:1")
        check("an address that is no seed is refused with the list", done[0] == 1 and all(a in done[2] for a in addresses.values()), done)
        done = init("--without", addresses["a"])
        check("a seed that answers is not left out", done[0] == 1 and "answers" in done[2], done)
        done = init("--without", f"{addresses['a']},{addresses['c']}")
        check("nor two of three", done[0] == 1, done)
        done = init("--discard", "0" * 32)
        check("a record that is not held is not erased", done[0] == 1 and "none is held" in done[2], done)
        done = init("--discard", "x")
        check("what is no record neither", done[0] == 2, done)
        status, out, err = init("--without", addresses["c"], "--json")
        check("a seed is left out, loudly", status == 0 and json.loads(out) == {"without": [addresses["c"]]} and "two clusters" in err, (status, out, err))
        check("the two form the cluster", c.wait(2) == [0, 0], c.run("a", "status"))
        check("a lock is there", c.run("a", "lock", "exec", "deploy", "--", "true")[0] == 0)
        done = init("--without", addresses["c"])
        check("and it is too late for another word", done[0] == 1 and "already" in done[2], done)
        c.start("c")
        check("the third joins when it starts after all", c.wait(3) == [0, 0, 0], c.run("c", "status"))
        check("and there is one cluster", len({c.json(n, "status")["cluster_id"] for n in "abc"}) == 1)
    finally:
        c.end()


def named(folder):
    """Nodes that know each other by host names, and advertise another address than they bind to."""
    home = pathlib.Path(folder) / "named"
    home.mkdir()
    c = cluster(home)
    c.seeds = ",".join(f"localhost:{p}" for p in c.ports.values())
    try:
        for n in "abc":
            c.start(n, "--advertise", f"localhost:{c.ports[n]}")
        check("nodes find each other by name", c.wait(3) == [0, 0, 0], c.run("a", "status"))
        where = {m["name"]: m["address"] for m in c.json("a", "members") or []}
        check("and show what they advertise", where == {n: f"localhost:{c.ports[n]}" for n in "abc"}, where)
        c.kill("b")
        gone = lambda: {m["name"]: m["state"] for m in c.json("a", "members") or []}.get("b") in ("unreachable", "failed")
        check("a crash is seen there too", eventually(gone), c.run("a", "members"))
        c.start("b", "--advertise", f"localhost:{c.ports['b']}")
        check("and its return", c.wait(3) == [0, 0, 0], c.run("b", "status"))
    finally:
        c.end()


def six(folder):
    """The same on IPv6 alone."""
    home = pathlib.Path(folder) / "six"
    home.mkdir()
    c = cluster(home)
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError as e:
        print(f"skipped: there is no IPv6 here ({e})")
        return
    c.hosts = {n: "[::1]" for n in "abc"}
    c.seeds = ",".join(f"[::1]:{p}" for p in c.ports.values())
    try:
        for n in "abc":
            c.start(n)
        check("nodes find each other by IPv6", c.wait(3) == [0, 0, 0], c.run("a", "status"))
        where = {m["name"]: m["address"] for m in c.json("a", "members") or []}
        check("and show those addresses", where == {n: f"[::1]:{c.ports[n]}" for n in "abc"}, where)
        check("a lock is held there", eventually(lambda: c.run("b", "lock", "exec", "deploy", "--", "true")[0] == 0))
        c.kill("b")
        gone = lambda: {m["name"]: m["state"] for m in c.json("a", "members") or []}.get("b") in ("unreachable", "failed")
        check("a crash is seen there too", eventually(gone), c.run("a", "members"))
    finally:
        c.end()


def renamed(folder):
    """Host names that lead elsewhere later, or nowhere for a while: in a mount namespace with a file of hosts of its own."""
    home = pathlib.Path(folder) / "renamed"
    home.mkdir()
    hosts = home / "hosts"
    c = cluster(home)
    c.inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"]
    c.seeds = ",".join(f"{n}.coterie.test:{p}" for n, p in c.ports.items())
    lead = lambda **where: hosts.write_text("".join(f"{a} {n}.coterie.test\n" for n, a in where.items()))
    begin = lambda n: c.start(n, "--advertise", f"{n}.coterie.test:{c.ports[n]}")
    lead(a="127.0.0.1")
    if os.geteuid() != 0 or subprocess.run([*c.inside, "true"], capture_output=True).returncode != 0:
        print("skipped: a file can't be mounted without the rights to")
        return
    try:
        for n in "abc":
            begin(n)
        waits = lambda: "waiting for" in c.run("a", "status")[1]
        check("a node waits for seeds whose names do not resolve yet", eventually(waits), c.run("a", "status"))
        lead(a="127.0.0.1", b="127.0.0.1", c="127.0.0.1")
        check("and finds them when they do", c.wait(3, seconds="40s") == [0, 0, 0], c.run("a", "status"))
        # While their names led nowhere yet, some could not be sent any.
        said = lambda: {n: (home / f"{n}.log").read_text().count("but not by UDP") for n in "abc"}
        before = said()
        lead()
        bad = lambda: [m for m in c.json("a", "members") or [] if m["state"] != "alive"]
        check("nobody is lost while no name resolves", not eventually(bad, 8), bad())
        check("nor does anybody lack datagrams", said() == before, said())
        lead(a="127.0.0.1", b="127.0.0.1", c="127.0.0.2")
        c.kill("c")
        gone = lambda: {m["name"]: m["state"] for m in c.json("a", "members") or []}.get("c") in ("unreachable", "failed")
        check("a crash is seen", eventually(gone), c.run("a", "members"))
        c.hosts["c"] = "127.0.0.2"
        begin("c")
        check("a node that moved is found under its name", c.wait(3, seconds="40s") == [0, 0, 0], c.run("a", "status"))
        check("and stays, also when what was known of the name is old", not eventually(bad, 8), bad())
    finally:
        c.end()


def full_disk(folder):
    """A node whose disk fills up: it refuses data and says why, the cluster goes on, nothing is lost."""
    home = pathlib.Path(folder) / "full"
    home.mkdir()
    c = cluster(home)
    small = home / "a"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=700", "tmpfs", small], capture_output=True).returncode != 0:
        print("skipped: a small file system can't be mounted without the rights to")
        return
    try:
        for n in "abc":
            c.start(n)
        c.wait(3)
        first = eventually(lambda: c.run("a", "journal", "append", "orders", "t", "before")[1])
        check("an append before the disk is full", first)
        fill(small, leave=12 << 20)
        got = eventually(lambda: [r for r in [c.run("a", "journal", "append", "orders", "t", "x", "--timeout", "3s")] if r[0] != 0], 20)
        check("a node with a full disk refuses data and says why", got and "disk" in got[0][2], got)
        check("locks go on", eventually(lambda: c.run("b", "lock", "exec", "deploy", "--", "true")[0] == 0))
        check("the node with the full disk is alive", c.nodes["a"].poll() is None)
        (small / "ballast").unlink()
        check("with room again data is taken", eventually(lambda: c.run("b", "journal", "append", "orders", "t", "after")[0] == 0, 20))
        fill(small, leave=0)
        (small / "reserve").unlink(missing_ok=True)
        fill(small, leave=0)
        took = [c.run("b", "lock", "exec", "deploy", "--", "true")[0] for _ in range(20)]
        check("without a free byte the cluster goes on", took == [0] * 20, took)
        c.kill("a")
        (small / "ballast").unlink()
        c.start("a")
        check("it comes back when there is room", c.wait(3, "a") == [0])
        counts = lambda: [c.json(n, "journal", "count", "orders")["retained"] for n in "abc"]
        check("and has lost nothing", eventually(lambda: len(set(counts())) == 1 and c.run("a", "journal", "peek", "orders")[1].count("before") == 1), counts())
    finally:
        c.end()
        subprocess.run(["umount", "--lazy", small])


def fill(folder, leave):
    """A file that takes all but `leave` bytes."""
    with open(folder / "ballast", "ab") as f:
        step = 1 << 20
        while step >= 4096:
            space = os.statvfs(folder)
            if space.f_bavail * space.f_frsize <= leave + step:
                step //= 4
                continue
            try:
                f.write(b"x" * step)
                f.flush()
            except OSError:
                step //= 4


def lost_writes(c):
    """A home that went back in time, as a broken disk or a restored copy leaves it, does not vote; an emptied one comes back as new."""
    c.wait(3)
    c.stop("a")
    shutil.copytree(c.folder / "a" / "db", c.folder / "old")
    c.start("a")
    c.wait(3)
    mark = c.folder / "a" / "synced"
    before = mark.read_bytes()
    for i in range(20):
        c.run("a", "journal", "append", "orders", "t", f"later {i}")
    count = c.json("b", "journal", "count", "orders")["retained"]
    eventually(lambda: c.json("a", "journal", "count", "orders")["retained"] == count)
    check("the synced mark moves on", eventually(lambda: mark.read_bytes() != before))
    c.kill("a")
    shutil.rmtree(c.folder / "a" / "db")
    shutil.copytree(c.folder / "old", c.folder / "a" / "db")
    words = [COTERIE, "run", "--name", "a", "--bind", f"127.0.0.1:{c.ports['a']}", "--seeds", c.seeds, "--data", str(c.folder / "a")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    check("a home that lost acknowledged writes is refused", done.returncode == 1 and "--rejoin" in done.stderr, (done.returncode, done.stderr[-400:]))
    c.start("a", "--rejoin")
    check("with --rejoin it comes back as somebody new", c.wait(3) == [0, 0, 0], c.run("a", "status"))
    same = lambda: [c.json(n, "journal", "count", "orders")["retained"] for n in "abc"]
    check("and has all entries", eventually(lambda: set(same()) == {count}, 20), (same(), count))
    voters = lambda: [m["name"] for m in c.json("c", "members") or [] if m["state"] == "alive" and m["role"] == "voter"]
    check("and votes again", eventually(lambda: len(voters()) == 3, 20), c.run("c", "members"))
    # The disks of two of three voters must not be lost: what made it a voter is committed before the next one goes.
    check("the change is committed", all(c.run("c", "journal", "append", "orders", "t", f"settled {i}")[0] == 0 for i in range(3)))
    c.kill("b")
    shutil.rmtree(c.folder / "b")
    c.start("b")
    check("a node whose disk was emptied comes back", c.wait(3) == [0, 0, 0], c.run("b", "status"))
    check("and votes again", eventually(lambda: len(voters()) == 3, 20), c.run("c", "members"))


def leadership(c):
    """An operator lets another voter lead, from any node, while appends go on."""
    c.wait(3)
    voters = c.json("a", "cluster", "voters")
    check("all three vote", sorted(m["name"] for m in voters if m["role"] == "voter") == ["a", "b", "c"], voters)
    leader = c.leader()
    asked, to = [n for n in "abc" if n != leader]
    results, stop = [], threading.Event()

    def append():
        while not stop.is_set():
            results.append(c.run(asked, "journal", "append", "orders", "t", f"transfer {len(results)}")[0])

    t = threading.Thread(target=append)
    t.start()
    try:
        for name in (to, leader, asked):
            done = c.run(asked, "cluster", "transfer", name)
            check(f"leadership goes to another ({name})", done[0] == 0 and c.json(asked, "status")["leader"] == name, done)
    finally:
        stop.set()
        t.join()
    check("and no append fails meanwhile", len(results) > 3 and set(results) == {0}, results)
    refused = c.run(asked, "cluster", "transfer", "nobody")
    check("to nobody it does not go", refused[0] == 1 and "no member 'nobody'" in refused[2], refused)


def copied_homes(c):
    """A restored backup of a whole home is noticed by the peers; a copy that runs beside its original stays outside."""
    c.wait(3)
    for name in "bc":
        c.stop(name)
        shutil.copytree(c.folder / name, c.folder / f"copy-{name}")
        c.start(name)
        c.wait(3)
    for i in range(5):
        c.run("a", "journal", "append", "orders", "t", f"after the copies {i}")
    count = c.json("a", "journal", "count", "orders")["retained"]
    eventually(lambda: c.json("b", "journal", "count", "orders")["retained"] == count)
    run = lambda name, port, home: [COTERIE, "run", "--name", name, "--bind", f"127.0.0.1:{port}", "--seeds", c.seeds, "--data", str(home)]

    c.kill("b")
    shutil.rmtree(c.folder / "b")
    shutil.copytree(c.folder / "copy-b", c.folder / "b")
    for attempt in ("a restored backup is refused", "and for good"):
        done = subprocess.run(run("b", c.ports["b"], c.folder / "b"), capture_output=True, text=True, timeout=60)
        said = done.returncode == 1 and "older copy" in done.stderr and "--rejoin" in done.stderr
        check(attempt, said, (done.returncode, done.stderr[-400:]))
    c.start("b", "--rejoin")
    check("with --rejoin it comes back", c.wait(3) == [0, 0, 0], c.run("b", "status"))
    check("and has all entries", eventually(lambda: c.json("b", "journal", "count", "orders")["retained"] == count, 20))

    log = c.folder / "clone.log"
    with open(log, "wb") as out:
        clone = subprocess.Popen(run("c", free_ports(1)[0], c.folder / "copy-c"), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    told = lambda: "is alive at" in log.read_text() or "older copy" in log.read_text()
    check("a clone is told of its original", eventually(told, 20), log.read_text()[-400:])
    where = {m["name"]: m["address"] for m in c.json("a", "members") if m["state"] == "alive"}
    check("which goes on undisturbed", where.get("c") == f"127.0.0.1:{c.ports['c']}" and c.run("c", "lock", "exec", "deploy", "--", "true")[0] == 0, where)
    clone.terminate()
    clone.wait(30)


def forming(c):
    c.start("a")
    time.sleep(0.3)
    c.start("c")
    time.sleep(0.3)
    c.start("b")
    eventually(lambda: all((c.folder / n / "control.sock").exists() for n in "abc"))
    check("members --wait 3 returns 0 on each", c.wait(3) == [0, 0, 0])
    states = [c.json(n, "status") for n in "abc"]
    check("one cluster id", len({s["cluster_id"] for s in states}) == 1 and states[0]["cluster_id"], states)
    check("one leader", len({s["leader"] for s in states}) == 1, states)
    check("all become ready", eventually(lambda: all(c.json(n, "status")["ready"] for n in "abc")))
    check("the control socket is 0600", oct(os.stat(c.folder / "a" / "control.sock").st_mode & 0o777) == "0o600")


def exclusion(c):
    trail = c.folder / "trail"
    script = f'echo "start $COTERIE_FENCE" >> {trail}; sleep 0.05; echo "end $COTERIE_FENCE" >> {trail}'

    def loop(node):
        for _ in range(5 * SCALE):
            c.run(node, "lock", "exec", "deploy", "--", "sh", "-c", script)

    threads = [threading.Thread(target=loop, args=(n,)) for n in "abc"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = [x.split() for x in trail.read_text().splitlines()]
    pairs = list(zip(lines[::2], lines[1::2]))
    check("commands under the lock never overlap", len(lines) == 30 * SCALE and all(s[0] == "start" and e[0] == "end" and s[1] == e[1] for s, e in pairs), lines[:6])
    fences = [int(s[1]) for s, _ in pairs]
    check("fences rise", fences == sorted(set(fences)), fences)


def dead_holder(c):
    """The holder's node dies: its command is gone before the next one starts, which is within TTL + 2 s."""
    victim = next(n for n in "abc" if n != c.leader())
    other = next(n for n in "abc" if n != victim)
    mark, alive = c.folder / "mark", c.folder / "alive"
    held = subprocess.Popen(c.command(victim, "lock", "exec", "import", "--", "sh", "-c", f"trap '' TERM; while :; do date +%s.%N > {alive}.new; mv {alive}.new {alive}; sleep 0.01; done"),
                            stderr=subprocess.DEVNULL)
    eventually(alive.exists)
    began = time.time()
    c.kill(victim)
    status, out, err = c.run(other, "lock", "exec", "import", "--", "sh", "-c", f"date +%s.%N; cat {alive}; sleep 0.3; cat {alive}")
    started, *seen = [float(x) for x in out.split()]
    check("the lock of a dead node is free within TTL + 2 s", status == 0 and started - began <= TTL + 2, (status, started - began, err))
    check("the dead node's command was gone before", len(set(seen)) == 1 and seen[0] < started, (started, seen))
    check("lock exec on the dead node has ended", held.wait(5) != 0)
    c.start(victim)
    check("the killed node comes back", c.wait(3, victim) == [0])


def jobs(c):
    """A job each second while its owner and the leader are killed."""
    status, out, err = c.run("a", "job", "add", "tick", "--every", "1s", "--runner", "tick")
    check("job add", status == 0 and "tick: next" in out, (out, err))
    runs = c.folder / "runs"
    eventually(lambda: runs.exists() and len(runs.read_text().splitlines()) >= 3 * SCALE, 15 + 4 * SCALE)
    owner = c.json("a", "job", "show", "tick")["owner"]
    watcher = next(n for n in "abc" if n != owner)
    c.kill(owner)
    began = time.monotonic()
    moved = eventually(lambda: (c.json(watcher, "job", "show", "tick") or {}).get("owner") not in (None, "", owner), TTL + 4)
    check("a new owner within TTL + 2 s", moved and time.monotonic() - began <= TTL + 2, time.monotonic() - began)
    c.start(owner)
    c.wait(3)
    leader = c.leader()
    c.kill(leader)
    time.sleep(1)
    c.start(leader)
    check("the killed leader comes back", c.wait(3) == [0, 0, 0])
    before = len(runs.read_text().splitlines())
    check("the job goes on", eventually(lambda: len(runs.read_text().splitlines()) >= before + 3, 20))
    started = runs.read_text().split()
    check("no scheduled time started twice", len(started) == len(set(started)), started)
    history = c.json(watcher, "job", "history", "tick", "--max", "200")
    times = sorted(x["scheduled"] for x in history)
    seconds = [int(time.mktime(time.strptime(t[:19], "%Y-%m-%dT%H:%M:%S"))) for t in times]
    coalesced = {t: x["coalesced"] for t, x in zip(seconds, sorted(history, key=lambda x: x["scheduled"]))}
    gaps = [b for a, b in zip(seconds, seconds[1:]) if b - a - 1 > coalesced.get(b, 0)]
    check("gaps only as recorded outcomes", not gaps, (gaps, history[:5]))
    check("job remove", c.run("a", "job", "remove", "tick")[0] == 0)


def journals(c):
    """Appends while nodes are killed and restarted one at a time; every node processes every acknowledged entry, in one order."""
    total, acknowledged, lock = 400 * SCALE, {}, threading.Lock()
    numbers = iter(range(total))

    def appender(node):
        for i in iter(lambda: next(numbers, None), None):
            for other in [node] + [n for n in "abc" if n != node]:
                status, out, _ = c.run(other, "journal", "append", "orders", "t", f"m{i}", "--key", f"k{i}")
                if status == 0:
                    with lock:
                        acknowledged[int(out)] = f"m{i}"
                    break

    threads = [threading.Thread(target=appender, args=(n,)) for n in "abc"]
    for t in threads:
        t.start()
    victims = 0
    while any(t.is_alive() for t in threads):
        n = "abc"[victims % 3]
        victims += 1
        time.sleep(0.5)
        c.kill(n)
        time.sleep(0.3)
        c.start(n)
        c.wait(3)
    check(f"{total} appends under {victims} kills are nearly all acknowledged", len(acknowledged) >= total * 0.97, len(acknowledged))
    c.start("d")
    check("a fourth node joins", c.wait(4, "d") == [0])
    order = {}
    for n in "abcd":
        out = ""
        while True:
            status, part, err = c.run(n, "journal", "process", "orders", "--max", "1000", "--", "cat")
            out += part
            if status != 0 or not part:
                break
        import json
        order[n] = [(x["id"], x["message"]) for x in map(json.loads, out.splitlines())]
    check("the fourth node processes all from the first", order["d"][:1] == order["a"][:1] and len(order["d"]) >= len(acknowledged))
    check("one order, ids rising", all(order[n] == order["a"] for n in "bcd") and [x[0] for x in order["a"]] == sorted({x[0] for x in order["a"]}),
          {n: len(order[n]) for n in order})
    check("every acknowledged entry is processed on every node", all(set(acknowledged.items()) <= set(order[n]) for n in "abcd"))
    check("a key appends once", len({x[1] for x in order["a"]}) == len(order["a"]))
    status, out, err = c.run("d", "leave", seconds=30)
    check("the fourth node leaves", status == 0 and eventually(lambda: c.nodes["d"].poll() == 0), (out, err))


def restarts(c):
    before = c.json("a", "journal", "count", "orders")
    c.run("a", "job", "add", "later", "--every", "1h", "--runner", "tick")
    fence = int(c.run("a", "lock", "exec", "deploy", "--", "sh", "-c", "echo $COTERIE_FENCE")[1])
    ident = c.json("a", "status")["cluster_id"]
    stopped = [c.stop(n) for n in "abc"]
    check("SIGTERM stops each with 0", stopped == [0, 0, 0], stopped)
    for n in "abc":
        c.start(n)
    check("they come back", c.wait(3) == [0, 0, 0])
    for n in "abc":
        c.kill(n)
    c.start("b")
    c.start("c")
    check("after kill -9 of all, two are a cluster", c.wait(2) == [0, 0])
    c.start("a")
    check("and then three", c.wait(3) == [0, 0, 0])
    check("the cluster id is the same", c.json("a", "status")["cluster_id"] == ident)
    check("journal and cursor go on", eventually(lambda: c.json("a", "journal", "count", "orders") == before), (before, c.json("a", "journal", "count", "orders")))
    check("the job is still there", c.json("b", "job", "show", "later") is not None)
    again = eventually(lambda: c.run("a", "lock", "exec", "deploy", "--", "sh", "-c", "echo $COTERIE_FENCE")[1])
    check("fences go on rising", again and int(again) > fence, (fence, again))


def minority(c):
    """Two of three are stopped: the third refuses within its time-out; a stopped holder never believes it still holds."""
    holder = c.folder / "holder"
    held = subprocess.Popen(c.command("b", "lock", "exec", "deploy", "--", "sh", "-c", f"while :; do date +%s.%N > {holder}; sleep 0.02; done"), stderr=subprocess.DEVNULL)
    eventually(holder.exists)
    pids = [c.nodes[n].pid for n in "ab"]
    for n in "ab":
        c.signal(n, signal.SIGSTOP)
    time.sleep(1.5)
    began = time.monotonic()
    status, _, err = c.run("c", "lock", "exec", "other", "--timeout", "3s", "--", "true")
    check("a lock is refused with no_quorum", status == 104 and time.monotonic() - began < 5, (status, err))
    began = time.monotonic()
    status, _, err = c.run("c", "journal", "append", "orders", "t", "x", "--timeout", "3s")
    check("an append is refused with no_quorum", status == 4 and time.monotonic() - began < 5, (status, err))
    check("journal count needs no quorum", c.run("c", "journal", "count", "orders")[0] == 0)
    check("the stopped node's lock exec ends its command", eventually(lambda: held.poll() is not None, TTL + 3))
    last = float(holder.read_text())
    for n in "ab":
        c.signal(n, signal.SIGCONT)
    check("all recover without a restart", c.wait(3) == [0, 0, 0] and pids == [c.nodes[n].pid for n in "ab"])
    got = eventually(lambda: c.run("c", "lock", "exec", "deploy", "--", "date", "+%s.%N")[1])
    check("the lock is free again, after the holder's command had ended", got and float(got) > last, (got, last))


def bad_input(c):
    def refused(what, status, text, *words):
        done = subprocess.run([COTERIE, *words], capture_output=True, text=True, timeout=30)
        check(what, done.returncode == status and text in done.stderr and done.stderr.startswith("coterie: "), (done.returncode, done.stderr))

    home = str(c.folder / "x")
    refused("a wrong flag", 2, "--nonsense", "run", "--nonsense")
    refused("a data directory in use", 1, "in use", "run", "--name", "x", "--bind", "127.0.0.1:0", "--seeds", c.seeds, "--data", str(c.folder / "a"))
    refused("a port in use", 1, "in use", "run", "--name", "x", "--bind", f"127.0.0.1:{c.ports['a']}", "--seeds", c.seeds, "--data", home)
    refused("an address that is not loopback", 1, "--insecure", "run", "--name", "x", "--bind", "192.0.2.1:7400", "--seeds", c.seeds, "--data", home)
    (c.folder / "file").write_text("x")
    refused("a data directory that is a file", 1, "file", "run", "--name", "x", "--bind", "127.0.0.1:0", "--seeds", c.seeds, "--data", str(c.folder / "file"))
    refused("a zone that is not built yet", 2, "only UTC is built yet", "job", "add", "x", "--every", "1s", "--runner", "r", "--zone", "Europe/Berlin")
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for size in (0, 1, 16, 64, 1400, 9000):
        u.sendto(os.urandom(size), ("127.0.0.1", c.ports["a"]))
    for junk in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096), b"ctre" + b"\xff" * 60):
        with socket.create_connection(("127.0.0.1", c.ports["a"])) as s:
            s.sendall(junk)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(c.folder / "a" / "control.sock"))
        s.sendall(os.urandom(500))
    check("garbage does no harm", c.run("a", "lock", "exec", "deploy", "--", "true")[0] == 0)
    c.start("x")
    done = c.wait(4, "x")
    other = subprocess.run([COTERIE, "run", "--name", "a", "--bind", "127.0.0.1:0", "--seeds", c.seeds, "--data", str(c.folder / "a2")], capture_output=True, text=True, timeout=60)
    check("a taken name is refused", done == [0] and other.returncode == 1 and "taken" in other.stderr, (done, other.returncode, other.stderr[-300:]))


def chosen(part):
    """All, or those named on the command line (most need forming first)."""
    if sys.argv[1:] and part.__name__ not in sys.argv[1:]:
        return False
    print(f"-- {part.__name__}", flush=True)
    return True


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-faults-") as folder:
        config = pathlib.Path(folder) / "node.toml"
        config.write_text(f'[runner.tick]\ncommand = ["sh", "-c", "echo $COTERIE_SCHEDULED >> {folder}/runs"]\n')
        for part in (silent_seed, missing_seed, named, six, renamed, full_disk):
            if chosen(part):
                part(folder)
        c = cluster(folder, config=config)
        try:
            for part in (forming, exclusion, dead_holder, jobs, journals, restarts, minority, leadership, lost_writes, copied_homes, bad_input):
                if chosen(part):
                    part(c)
        finally:
            c.end()
    finish()


main()
