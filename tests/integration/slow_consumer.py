#!/usr/bin/env python3
"""Somebody follows the events of a node and never reads them, while members come and go and more events happen than fit anywhere. The
node goes on probing and judging as before, nobody gives it up, what it keeps for the consumer is bounded, and that it cut the
consumer off is counted."""

import concurrent.futures
import pathlib
import select
import subprocess
import tempfile

from nodes import check, cluster, eventually, finish

NAMES = "abcd"
KEY = "k" * 60_000  # of an event each
UNREAD = 64 << 20   # bytes that a client may leave unread (docs/protocol.md); the last invalidations are kept for other nodes too


def counter(c, name, what):
    s = c.json(name, "status")
    return s["counters"].get(what, 0) if s else 0


def peak_memory(c, name):
    lines = pathlib.Path(f"/proc/{c.nodes[name].pid}/status").read_text().splitlines()
    return next(int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM"))


def flood(c, name):
    """Events, as fast as a few commands at a time make them, until the consumer is cut off."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for _ in range(40):
            codes = list(pool.map(lambda _: c.run(name, "cache", "invalidate", "c", KEY)[0], range(60)))
            if any(codes) or counter(c, name, "control.overflow"):
                return not any(codes)
    return True


def state(c, at, of):
    return next((m["state"] for m in c.json(at, "members") or [] if m["name"] == of), None)


def gone_and_back(c, watcher, name):
    """A member is killed and started again; true when the watcher saw both."""
    c.kill(name)
    gone = eventually(lambda: state(c, watcher, name) in ("unreachable", "failed"), 30)
    c.start(name)
    return gone and eventually(lambda: state(c, watcher, name) == "alive", 30)


def main():
    with tempfile.TemporaryDirectory() as folder:
        c = cluster(folder, NAMES)
        blocked = None
        try:
            for n in NAMES:
                c.start(n)
            check("a cluster of four", c.wait(4) == [0] * 4)
            check("which is ready", eventually(lambda: all(s and s["ready"] for s in (c.json(n, "status") for n in NAMES)), 30))
            before = peak_memory(c, "a")
            blocked = subprocess.Popen(c.command("a", "events"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            check("the consumer is connected", select.select([blocked.stdout], [], [], 20)[0])
            # From here on nobody reads what it prints, so it stands still as soon as the pipe is full.
            check("its node sees a member go and come back", gone_and_back(c, "a", "d"))
            check("events happen, many and large", flood(c, "a"))
            check("the consumer is cut off, and that is counted", counter(c, "a", "control.overflow") == 1, counter(c, "a", "control.overflow"))
            check("what was kept for it is bounded", peak_memory(c, "a") < before + 3 * UNREAD, (before, peak_memory(c, "a")))
            probes = counter(c, "a", "probes")
            check("its node goes on probing", eventually(lambda: counter(c, "a", "probes") > probes + 20, 30), probes)
            check("and judging", gone_and_back(c, "a", "d"))
            for n in "bc":
                why = c.json(n, "why", "a")
                seen = [t["what"] for t in why["transitions"]] if why else None
                check(f"{n} never gave it up", seen is not None and not {"unreachable", "failed"} & set(seen), seen)
            out, err = blocked.communicate(timeout=30)
            check("the consumer ends with what happened", blocked.returncode != 0 and err, (blocked.returncode, err))
            print(f"{len(out)} bytes were there to be read; {err.decode().strip()}")
        finally:
            if blocked:
                blocked.kill()
                blocked.wait()
            c.end()
    finish()


if __name__ == "__main__":
    main()
