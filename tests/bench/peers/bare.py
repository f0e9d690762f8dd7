#!/usr/bin/env python3
"""tools/bench_peers measures coterie and, without any other system, the floor: COTERIE is the command, BARE is peer_bare."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
sys.path.append(str(here.parents[1] / "integration"))

from nodes import COTERIE, check, finish


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-bare-") as folder:
        drivers = pathlib.Path(folder) / "drivers"
        drivers.mkdir()
        (drivers / "peer_bare").symlink_to(os.environ["BARE"])
        for what in ("append", "read"):
            words = ["--what", what, "--in-flight", "1,16", "--seconds", "0.3", "--rounds", "1", "--json"]
            done = subprocess.run([sys.executable, str(here / "peers.py"), COTERIE, str(drivers), *words], capture_output=True, text=True,
                                  timeout=120, env={**os.environ, "TMPDIR": folder})
            if not check(f"{what}: it ends well, and says what it leaves out", done.returncode == 0 and "etcd: " in done.stderr, done):
                continue
            rows = json.loads(done.stdout)["rows"]
            check(f"{what}: coterie and the bare threads, alone and with many requests under way",
                  sorted((r["system"], r["in_flight"]) for r in rows) == [(s, n) for s in ("bare", "coterie") for n in (1, 16)], rows)
            check(f"{what}: all were answered, and with many under way more of them in a second",
                  all(0 < r["p50_us"] <= r["p99_us"] for r in rows)
                  and all(a["ops_per_s"] < b["ops_per_s"] for a in rows for b in rows
                          if a["system"] == b["system"] and a["in_flight"] < b["in_flight"]), rows)
        left = [p.name for p in pathlib.Path(folder).iterdir() if p != drivers]
        check("nothing is left behind", not left, left)
    finish()


main()
