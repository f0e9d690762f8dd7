#!/usr/bin/env python3
"""The state of a cluster as a file, and new clusters: from that file, and from one member's directory when the others are lost."""

import pathlib
import shutil
import tempfile

from nodes import check, cluster, eventually, finish


def fence_of(c, name):
    return int(c.run(name, "lock", "exec", "deploy", "--", "sh", "-c", "echo $COTERIE_FENCE")[1] or 0)


def messages(c, name):
    entries = c.json(name, "journal", "peek", "orders", "--max", "1000")
    return [e["message"] for e in entries or []]


def found(c, name, *how):
    """A home made by `how`, and its node with another one that joins it."""
    at = f"127.0.0.1:{c.ports[name]}"
    status, out, err = c.run(name, *how, "--data", str(c.folder / name), "--name", name, "--bind", at)
    if not check(f"{' '.join(how[:2])} makes a home", status == 0 and "coterie run" in out, (status, out, err)):
        return
    c.seeds = at
    c.start(name)
    check("its node is a cluster by itself", c.wait(1, name) == [0], c.run(name, "status"))


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-backup-") as folder:
        home = pathlib.Path(folder) / "old"
        home.mkdir()
        old = cluster(home)
        for n in "abc":
            old.start(n)
        try:
            old.wait(3)
            said = [f"m{i}" for i in range(20)]
            for m in said:
                old.run("a", "journal", "append", "orders", "t", m)
            old.run("b", "job", "add", "nightly", "--every", "10m", "--runner", "nobody")
            fence = fence_of(old, "c")
            old_id = old.json("a", "status")["cluster_id"]
            file = pathlib.Path(folder) / "state.snapshot"
            taken = old.json("b", "cluster", "snapshot", str(file))
            check("a snapshot is a file", taken and file.exists() and taken["bytes"] == file.stat().st_size, taken)
            check("for its user alone", file.stat().st_mode & 0o777 == 0o600, oct(file.stat().st_mode))
            status, _, err = old.run("b", "cluster", "snapshot", str(file))
            check("a file that is there stays as it is", status == 1 and "there already" in err, (status, err))
            old.run("a", "journal", "append", "orders", "t", "after the snapshot")

            new_home = pathlib.Path(folder) / "new"
            new_home.mkdir()
            new = cluster(new_home, names="x")
            at = f"127.0.0.1:{new.ports['x']}"
            data = file.read_bytes()
            bad = pathlib.Path(folder) / "bad.snapshot"
            for what, content in {"cut off": data[:-100], "damaged": data[:200] + bytes([data[200] ^ 1]) + data[201:],
                                  "longer": data + b"x", "no snapshot": b"hello\n" * 100, "empty": b""}.items():
                bad.write_bytes(content)
                status, _, err = new.run("x", "cluster", "restore", str(bad), "--data", str(new_home / "x"), "--name", "x", "--bind", at)
                check(f"one that is {what} is refused", status == 1 and "bad.snapshot" in err, (status, err))
            try:
                found(new, "x", "cluster", "restore", str(file))
                status, _, err = new.run("x", "cluster", "restore", str(file), "--data", str(home / "a"), "--name", "x", "--bind", at)
                check("the home of a running node is refused", status == 1, (status, err))
                check("the journal is there", messages(new, "x") == said, messages(new, "x"))
                check("the job is there", [j["id"] for j in new.json("x", "job", "list") or []] == ["nightly"], new.json("x", "job", "list"))
                check("fences go on rising", fence_of(new, "x") > fence, (fence_of(new, "x"), fence))
                check("it has an id of its own", new.json("x", "status")["cluster_id"] != old_id)
                new.start("y")
                check("others join", new.wait(2) == [0, 0], new.run("y", "status"))
                check("and have the journal", eventually(lambda: messages(new, "y") == said), messages(new, "y"))
            finally:
                new.end()
            check("the old cluster went on", messages(old, "a") == said + ["after the snapshot"], messages(old, "a"))

            # Two of three are lost for good.
            status, _, err = old.run("c", "cluster", "recover", "--from", str(home / "c"), "--data", folder + "/z", "--name", "z", "--bind", at)
            check("a running node's directory is not taken", status == 1 and "another" in err, (status, err))
            last = fence_of(old, "b")
            for n in "ab":
                old.kill(n)
                shutil.rmtree(home / n)
            old.kill("c")
            rest_home = pathlib.Path(folder) / "rest"
            rest_home.mkdir()
            rest = cluster(rest_home, names="z")
            try:
                found(rest, "z", "cluster", "recover", "--from", str(home / "c"))
                check("all that the survivor had is there", messages(rest, "z") == said + ["after the snapshot"], messages(rest, "z"))
                check("fences go on rising", fence_of(rest, "z") > last)
            finally:
                rest.end()
        finally:
            old.end()
    finish()


main()
