#!/usr/bin/env python3
"""`coterie dev`: shows all four services on real processes, survives the death of one, and leaves nothing behind.

usage: COTERIE=path/to/coterie dev_once.py
"""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from nodes import COTERIE, alive, check, finish


def all_end(pids, seconds=3):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.05)
    return not any(map(alive, pids))


def read_until(stream, pattern, seconds=30):
    """Lines up to the first that fits; the watchdog ends a read that never comes."""
    seen, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        line = stream.readline()
        if not line:
            break
        seen += line
        if re.search(pattern, line):
            return seen, True
    return seen, False


def pids_of(text):
    return [int(p) for p in re.findall(r" pid (\d+)", text.split("\n")[0])]


def start(*more):
    return subprocess.Popen([COTERIE, "dev", *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def once(folder):
    done = subprocess.run([COTERIE, "dev", "--once"], capture_output=True, text=True, timeout=90)
    check("--once sees all four", done.returncode == 0, done.stdout + done.stderr)
    check("no process is left", all_end(pids_of(done.stdout)))
    check("no data is left", not list(folder.glob("coterie-dev-*")))


def survives(folder):
    dev = start()
    text, formed = read_until(dev.stdout, r"formed:")
    pids = pids_of(text)
    check("three nodes", formed and len(pids) == 3, text)
    os.kill(pids[1], signal.SIGKILL)
    text, noticed = read_until(dev.stdout, r"b is unreachable")
    check("a killed node is shown", noticed, text)
    text, goes_on = read_until(dev.stdout, r"(lock|job) .* (a|c)")
    check("the others go on", goes_on, text)
    dev.send_signal(signal.SIGINT)
    check("Ctrl-C ends it with 0", dev.wait(15) == 0)
    check("no process is left after Ctrl-C", all_end(pids))
    check("no data is left after Ctrl-C", not list(folder.glob("coterie-dev-*")))


def killed(folder):
    dev = start()
    text, _ = read_until(dev.stdout, r" pid ")
    dev.kill()
    dev.wait()
    check("no process outlives a killed dev", all_end(pids_of(text)))
    end = time.monotonic() + 3
    while time.monotonic() < end and list(folder.glob("coterie-dev-*")):
        time.sleep(0.05)
    check("nor its data", not list(folder.glob("coterie-dev-*")))


def main():
    signal.alarm(150)
    with tempfile.TemporaryDirectory(prefix="coterie-test-") as name:
        folder = pathlib.Path(name)
        os.environ["TMPDIR"] = os.environ["XDG_RUNTIME_DIR"] = name
        once(folder)
        survives(folder)
        killed(folder)
    finish()


if __name__ == "__main__":
    main()
