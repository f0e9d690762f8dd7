#!/usr/bin/env python3
"""Coterie beside etcd, NATS JetStream and NuRaft, in one run on this machine: tools/bench_peers.

usage: peers.py COTERIE DRIVERS [--what append|read|lock|failover|catchup] [--in-flight 1,64,256] [--seconds S]
                [--rounds N] [--size BYTES] [--times N] [--state MIB] [--nuraft RAFT_BENCH] [--json]
  COTERIE is the command; DRIVERS is the directory of peer_etcd and its like. What is not installed is left out, and said.
Three servers of each on loopback, each system by itself, in turns; the median of the rounds. Each is driven by its own
protocol from one client on one connection to the server that leads (read: to one that follows), so many requests under
way, each answered by itself. `bare` is no system: three processes with the same threads and messages, and nothing else,
the floor (bare.cpp).
RAFT_BENCH is NuRaft's own benchmark, built from its sources: a thread for each request under way in the leader's process, a
log in memory, no disk.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "integration"))

from ports import free_ports


def arguments():
    p = argparse.ArgumentParser(prog="tools/bench_peers", description="Coterie beside etcd and NATS JetStream, in one run.")
    p.add_argument("coterie")
    p.add_argument("drivers", type=pathlib.Path)
    p.add_argument("--what", choices=["append", "read", "lock", "failover", "catchup"], default="append")
    p.add_argument("--in-flight", default="", help="1,64,256 for append, 1,64 for read; 8 clients that want one lock")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--size", type=int, default=200)
    p.add_argument("--times", type=int, default=6, help="how often a leader goes, of failover")
    p.add_argument("--state", type=int, default=64, help="MiB that an empty server has to get, of catchup")
    p.add_argument("--nuraft", type=pathlib.Path, help="raft_bench of NuRaft, where that was built")
    p.add_argument("--json", action="store_true")
    return p.parse_args()


def processor_seconds(processes):
    """User and kernel, of all threads (proc(5))."""
    ticks = 0
    for p in processes:
        fields = pathlib.Path(f"/proc/{p.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class servers:
    """Three processes in a directory of their own, ended by their process ids."""

    def __init__(self, commands, folder, cwd=None):
        self.commands, self.cwd = commands, cwd
        self.log = open(folder / "log", "wb")
        self.processes = [self.start(i) for i in range(len(commands))]

    def start(self, i):
        return subprocess.Popen(self.commands[i], stdout=self.log, stderr=self.log, cwd=self.cwd)

    def restart(self, i):
        """After it was killed."""
        self.processes[i].wait()
        self.processes[i] = self.start(i)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.log.close()


def etcd(folder):
    clients, peers = free_ports(3), free_ports(3)
    members = ",".join(f"n{i}=http://127.0.0.1:{p}" for i, p in enumerate(peers))
    commands = [
        ["etcd", "--name", f"n{i}", "--data-dir", str(folder / f"n{i}"), "--log-level", "error",
         "--listen-client-urls", f"http://127.0.0.1:{clients[i]}", "--advertise-client-urls", f"http://127.0.0.1:{clients[i]}",
         "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}",
         "--initial-cluster", members, "--initial-cluster-state", "new", "--quota-backend-bytes", str(8 << 30)]
        for i in range(3)
    ]
    return commands, [f"127.0.0.1:{p}" for p in clients]


def nats(folder):
    clients, routes = free_ports(3), free_ports(3)
    names = [f"127.0.0.1:{p}" for p in clients]
    commands = []
    for i in range(3):
        config = folder / f"n{i}.conf"
        # Names may hold anything without blanks; the driver finds the leader by it.
        config.write_text(
            f'server_name: "{names[i]}"\nlisten: "{names[i]}"\n'
            f'jetstream {{ store_dir: "{folder / f"n{i}"}" }}\n'
            f'cluster {{ name: bench, listen: "127.0.0.1:{routes[i]}", routes: ['
            + ", ".join(f'"nats://127.0.0.1:{r}"' for r in routes) + "] }\n")
        commands.append(["nats-server", "-c", str(config)])
    return commands, names


def bare(program, folder):
    places = [f"127.0.0.1:{p}" for p in free_ports(3)]
    return [[str(program), "serve", str(i), ",".join(places), str(folder / f"file{i}")] for i in range(3)], places


def run_peer(driver, make, in_flight, a):
    rows = []
    with tempfile.TemporaryDirectory(prefix="coterie-peers.") as d:
        commands, endpoints = make(pathlib.Path(d))
        with servers(commands, pathlib.Path(d)) as s:
            for n in in_flight:
                before = processor_seconds(s.processes)
                done = subprocess.run([str(driver), a.what, ",".join(endpoints), str(n), str(a.seconds), str(a.size)],
                                      capture_output=True, text=True, timeout=120 + 3 * a.seconds)
                if done.returncode != 0:
                    log = (pathlib.Path(d) / "log").read_text(errors="replace")[-2000:]
                    sys.exit(f"{driver.name}: {done.stderr.strip()}\n{log}")
                row = json.loads(done.stdout)
                # The warm-up is a fifth of what is counted, at the same rate.
                row["cpu_us_per_op"] = (processor_seconds(s.processes) - before) * 1e6 / max(1, row["samples"] * 1.2)
                rows.append(row)
    return rows


def run_etcd_failover(driver, a):
    """From the end of a leader to the first put that began after it and that another server answered."""
    def words(what, *endpoints):
        return [str(driver), what, ",".join(endpoints), "1", "20", str(a.size)]

    def ask(what, endpoints):
        return subprocess.run(words(what, *endpoints), capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def once(how, s, endpoints):
        leads = endpoints.index(ask("leader", endpoints))
        with subprocess.Popen(words("watch", endpoints[(leads + 1) % 3]), stdout=subprocess.PIPE, text=True) as writes:
            writes.stdout.readline()
            begun = time.monotonic_ns()
            if how == "transfer":
                ask("transfer", endpoints)
                begun = time.monotonic_ns()  # the command's own start takes longer than what it asks for: from its end
            else:
                s.processes[leads].send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            answered = next((int(end) for start, end in map(str.split, writes.stdout) if int(start) > begun), None)
            writes.kill()
        if answered is None:
            sys.exit(f"etcd: no put was answered within 20 s after a leader was {how}")
        if how == "killed":
            s.restart(leads)
        elif how == "stopped":
            s.processes[leads].send_signal(signal.SIGCONT)
        return (answered - begun) / 1e3

    rows = []
    with tempfile.TemporaryDirectory(prefix="coterie-peers.") as d:
        commands, endpoints = etcd(pathlib.Path(d))
        with servers(commands, pathlib.Path(d)) as s:
            for how in ("killed", "stopped", "transfer"):
                us = sorted(once(how, s, endpoints) for _ in range(a.times))
                rows.append({"what": how, "system": "etcd", "in_flight": 1, "ops_per_s": None, "p50_us": us[len(us) // 2],
                             "p99_us": us[-1], "cpu_us_per_op": None})
    return rows


def run_etcd_catchup(driver, a):
    """An empty server joins three that have so much, while eight puts are under way; and their latency before."""
    def driven(what, endpoints, in_flight=8, number=a.seconds, **how):
        return subprocess.Popen([str(driver), what, ",".join(endpoints), str(in_flight), str(number), str(a.size)],
                                stdout=subprocess.PIPE, text=True, **how)

    def done(process):
        said, _ = process.communicate(timeout=900)
        if process.returncode != 0:
            sys.exit("etcd: no catch-up")
        return said

    with tempfile.TemporaryDirectory(prefix="coterie-peers.") as d:
        folder = pathlib.Path(d)
        commands, endpoints = etcd(folder)
        with servers(commands, folder) as s:
            done(driven("fill", endpoints, 16, a.state))
            rows = [json.loads(done(driven("append", endpoints))) | {"what": "append before"}]
            place, peer = (f"127.0.0.1:{p}" for p in free_ports(2))
            leader = done(driven("leader", endpoints)).strip()
            begun = time.monotonic()
            done(driven("add", [leader, f"http://{peer}"]))
            joins = list(commands[0])
            for option, value in {"--name": "n3", "--data-dir": str(folder / "n3"), "--listen-client-urls": f"http://{place}",
                                  "--advertise-client-urls": f"http://{place}", "--listen-peer-urls": f"http://{peer}",
                                  "--initial-advertise-peer-urls": f"http://{peer}", "--initial-cluster-state": "existing"}.items():
                joins[joins.index(option) + 1] = value
            joins[joins.index("--initial-cluster") + 1] += f",n3=http://{peer}"
            s.commands.append(joins)
            s.processes.append(s.start(3))
            puts = driven("meanwhile", endpoints, stdin=subprocess.PIPE)
            done(driven("caught_up", [leader, place]))
            took = time.monotonic() - begun
            rows.append(json.loads(done(puts)))  # which ends with its input
    rows.append({"what": "catch-up", "system": "etcd", "in_flight": 1, "p50_us": took * 1e6, "p99_us": took * 1e6, "ops_per_s": None})
    return [{"cpu_us_per_op": None} | r for r in rows]


def run_nuraft(in_flight, a):
    """Its followers have to be new ones each time; it has no more than 128 threads."""
    rows = []
    for n in (n for n in in_flight if n <= 128):
        with tempfile.TemporaryDirectory(prefix="coterie-peers.") as d:
            places = [f"127.0.0.1:{p}" for p in free_ports(3)]
            followers = [[str(a.nuraft.resolve()), str(i), places[i - 1], "3600"] for i in (2, 3)]
            with servers(followers, pathlib.Path(d), cwd=d) as s:
                # As many a second as it can.
                leader = subprocess.Popen([str(a.nuraft.resolve()), "1", places[0], str(max(1, round(a.seconds))), "1000000", str(n),
                                           str(a.size), *places[1:]], cwd=d, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                said = leader.stdout.read().decode(errors="replace")
                _, status, used = os.wait4(leader.pid, 0)
                leader.returncode = os.waitstatus_to_exitcode(status)
                cpu = processor_seconds(s.processes) + used.ru_utime + used.ru_stime
            told = re.findall(r"(\d+)\s+([\d.]+)(K?) ops/s", said)
            times = [x.read_text().split() for x in pathlib.Path(d).glob("raft_latency_*.log")]
            if leader.returncode != 0 or not told or not times:
                sys.exit(f"nuraft: {said[-2000:]}")
            done, rate, kilo = told[-1]
            at = dict(zip(times[0][::2], times[0][1::2]))
            rows.append({"what": "append", "system": "nuraft", "in_flight": n, "ops_per_s": float(rate) * (1000 if kilo else 1),
                         "p50_us": float(at["50"]), "p99_us": float(at["99"]), "cpu_us_per_op": cpu * 1e6 / max(1, int(done))})
    return rows


def run_coterie(a, in_flight):
    words = [a.coterie, "--json", "bench", a.what, "--size", str(a.size)]
    words += {"lock": ["--lasts", f"{a.seconds}s", "--clients", str(in_flight[-1])], "failover": ["--times", str(a.times)],
              "catchup": ["--lasts", f"{a.seconds}s", "--state", str(a.state)]}.get(
        a.what, ["--lasts", f"{a.seconds}s", "--in-flight", ",".join(map(str, in_flight))])
    done = subprocess.run(words, capture_output=True, text=True, timeout=300 + 10 * a.seconds)
    if done.returncode != 0:
        sys.exit(f"coterie bench: {done.stderr.strip()}")
    out = json.loads(done.stdout)
    return out["floor"], out["rows"]


def main():
    a = arguments()
    in_flight = [int(n) for n in (a.in_flight or {"append": "1,64,256", "read": "1,64", "lock": "8"}.get(a.what, "1")).split(",")]
    if a.what == "lock":
        in_flight = [1, in_flight[-1]]
    floor_of = a.drivers / "peer_bare"
    of_etcd = ("etcd", "etcd", "peer_etcd_lock" if a.what == "lock" else "peer_etcd", etcd)
    of_bare = ("bare", None, "peer_bare", lambda folder: bare(floor_of, folder))
    peers = {"append": [of_bare, of_etcd, ("jetstream", "nats-server", "peer_nats", nats)], "read": [of_bare, of_etcd],
             }.get(a.what, [of_etcd])
    present = []
    for name, program, driver, make in peers:
        if program and not shutil.which(program):
            print(f"{name}: {program} is not installed: left out", file=sys.stderr)
        elif not (a.drivers / driver).exists():
            print(f"{name}: {driver} was not built (its client library is not installed): left out", file=sys.stderr)
        else:
            present.append((a.drivers / driver, make))
    floors, seen = [], {}
    for _ in range(a.rounds):
        floor, rows = run_coterie(a, in_flight)
        floors.append(floor)
        for driver, make in present:
            if a.what == "failover":
                rows += run_etcd_failover(driver, a)
            elif a.what == "catchup":
                rows += run_etcd_catchup(driver, a)
            else:
                rows += run_peer(driver, make, in_flight, a)
        if a.nuraft and a.what == "append":
            rows += run_nuraft(in_flight, a)
        for r in rows:
            seen.setdefault((r["what"], r["system"], r["in_flight"]), []).append(r)
    # Nobody counts the processor time of a lock, nor the failovers of a second.
    middle = lambda rows, field: statistics.median(r[field] or 0 for r in rows)
    table = [
        {"what": what, "system": system, "in_flight": n,
         **{f: middle(rows, f) for f in ("ops_per_s", "p50_us", "p99_us", "cpu_us_per_op")}}
        for (what, system, n), rows in seen.items()
    ]
    floor = {f: middle(floors, f) for f in floors[0]}
    if a.json:
        print(json.dumps({"floor": floor, "rounds": a.rounds, "rows": table}))
        return
    print(f"{a.size} bytes, 3 servers on this machine, median of {a.rounds} rounds; the floor: a round trip over loopback "
          f"{floor['rtt_us']:.0f} us, an fdatasync with 3 processes at it {floor['fdatasync_us']:.0f} us"
          + (f", a file of {a.state} MiB written and synced {floor['write_mib_per_s']:.0f} MiB/s" if a.what == "catchup" else ""))
    print(f"{'WHAT':<34}{'SYSTEM':<12}{'IN FLIGHT':>10}{'PER SECOND':>12}{'P50':>14}{'P99':>14}{'CPU/OP':>10}")
    for what in dict.fromkeys(r["what"] for r in table):
        for n in sorted({r["in_flight"] for r in table}):
            for r in table:
                if (r["what"], r["in_flight"]) == (what, n):
                    print(f"{what:<34}{r['system']:<12}{n:>10}{r['ops_per_s']:>12.0f}{r['p50_us']:>11.1f} us{r['p99_us']:>11.1f} us"
                          f"{r['cpu_us_per_op']:>7.0f} us")


if __name__ == "__main__":
    main()
