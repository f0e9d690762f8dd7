#!/usr/bin/env python3
"""`coterie bench` measures a cluster of its own, with the documented keys, and leaves nothing behind."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from nodes import COTERIE, check, finish


def bench(folder, *words):
    done = subprocess.run([COTERIE, "bench", *words, "--json"], capture_output=True, text=True, timeout=120, env={**os.environ, "TMPDIR": folder})
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, (done.stdout, done.stderr)


def membership(folder):
    words = ["membership", "--nodes", "3", "--rounds", "1", "--lasts", "1s"]
    whats = {"full_membership": "ms", "killed_known": "ms", "stopped_known": "ms", "idle_cpu": "ms/s", "memory": "MiB", "traffic": "B/s"}

    def judge(system, rows):
        mine = [r for r in rows if r["system"] == system]
        # Where no network of its own can be made, traffic is not counted.
        check(f"membership of {system} has its rows", {**{r["what"]: r["unit"] for r in mine}, "traffic": "B/s"} == whats and len(mine) >= 5, mine)
        check(f"{system}: with the documented keys", all(set(r) == {"what", "system", "nodes", "value", "unit", "samples"} for r in mine), mine)
        value = {r["what"]: r["value"] for r in mine}
        check(f"{system}: nothing is free, and nothing is known before it happens", all(v > 0 for v in value.values()), value)
        check(f"{system}: no agent uses a whole core, nor a gigabyte", value["idle_cpu"] < 1000 and value["memory"] < 1024, value)

    status, out = bench(folder, *words)
    check("membership needs no peer", status == 0 and {r["system"] for r in out["rows"]} == {"coterie"}, out)
    judge("coterie", out["rows"])
    if not shutil.which("serf"):
        status, out = bench(folder, *words, "--peer", "serf")
        check("a peer that is not installed is an error that names its package", status == 1 and "package serf" in out[1], out)
        print("skipped  membership beside Serf: no serf (apt-get install serf)")
        return
    status, out = bench(folder, *words, "--peer", "serf")
    if check("membership beside Serf", status == 0 and {r["system"] for r in out["rows"]} == {"coterie", "serf"}, out):
        judge("serf", out["rows"])


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as folder:
        status, out = bench(folder, "append", "--in-flight", "1,8", "--lasts", "300ms")
        check("append measures what it is asked to", status == 0 and [r["in_flight"] for r in out["rows"]] == [1, 8], out)
        row = out["rows"][0]
        keys = {"what", "system", "in_flight", "ops_per_s", "p50_us", "p99_us", "p999_us", "longest_us", "fsyncs_per_op", "cpu_us_per_op", "mib_per_s",
                "samples"}
        check("with the documented keys", set(row) == keys and set(out["floor"]) == {"rtt_us", "fdatasync_us"}, out)
        check("an append alone costs a node at least one sync", row["fsyncs_per_op"] >= 0.95, row)
        check("several under way share them", out["rows"][1]["fsyncs_per_op"] < row["fsyncs_per_op"], out)
        status, out = bench(folder, "append", "--host", "--in-flight", "4", "--lasts", "300ms")
        check("a host's own appends are measured, too", status == 0 and [(r["what"], r["in_flight"]) for r in out["rows"]] == [("append by a host", 4)]
              and out["rows"][0]["samples"] > 10, out)
        check("quantiles rise", 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"], row)
        status, out = bench(folder, "lock", "--lasts", "300ms", "--clients", "4")
        check("lock measures new locks, kept ones, and one that is wanted", status == 0 and [r["in_flight"] for r in out["rows"]] == [1, 1, 4, 1]
              and all(r["samples"] > 10 for r in out["rows"]), out)
        new, kept, _, hosted = out["rows"]
        check("a kept lock is taken sooner than a new one, sooner still inside a host", hosted["p50_us"] < kept["p50_us"] < new["p50_us"], out)
        status, out = bench(folder, "grow")
        check("no append fails while one voter becomes five and then one again", status == 0 and [r["what"] for r in out["rows"]] ==
              [f"{a} to {b} voters" for a, b in ((1, 3), (3, 5), (5, 3), (3, 1))] and all(r["samples"] > 0 for r in out["rows"]), out)
        status, out = bench(folder, "read", "--in-flight", "1", "--lasts", "300ms")
        check("a read costs no sync", status == 0 and out["rows"][0]["samples"] > 0 and out["rows"][0]["fsyncs_per_op"] < 0.1, out)
        status, out = bench(folder, "read", "--host", "--in-flight", "1", "--lasts", "300ms")
        check("nor does a host's", status == 0 and out["rows"][0]["samples"] > 0 and out["rows"][0]["fsyncs_per_op"] < 0.1, out)
        status, out = bench(folder, "failover", "--times", "1")
        check("failover ends a leader in three ways", status == 0 and [r["what"] for r in out["rows"]] == ["killed", "stopped", "transfer"], out)
        status, out = bench(folder, "catchup", "--state", "4", "--lasts", "300ms")
        check("an empty node catches up", status == 0 and out["rows"][-1]["what"] == "catch-up" and out["rows"][-1]["mib_per_s"] > 0
              and out["floor"]["write_mib_per_s"] > 0, out)
        membership(folder)
        check("nothing is left behind", not list(pathlib.Path(folder).iterdir()), list(pathlib.Path(folder).iterdir()))
    finish()


main()
