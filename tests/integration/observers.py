#!/usr/bin/env python3
"""Nodes beyond voters and standbys, as real processes: what they are told, write, read, and how they come back."""

import tempfile

from nodes import check, cluster, eventually, finish

NAMES = "abcdefgh"  # five vote, two are ready to, one observes


def roles(c, at="a"):
    return {m["name"]: m["role"] for m in c.json(at, "cluster", "voters") or []}


def of(c, role):
    return sorted(n for n, r in roles(c).items() if r == role)


def retained(c, node):
    return (c.json(node, "journal", "count", "orders") or {}).get("retained", 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        c = cluster(folder, NAMES)
        try:
            for n in NAMES:
                c.start(n)
            settled = lambda: len(of(c, "voter")) == 5 and len(of(c, "standby")) == 2 and len(of(c, "observer")) == 1
            check("five vote, two are ready to, one observes", eventually(settled, 60), roles(c))
            o = of(c, "observer")[0]
            status = eventually(lambda: (s := c.json(o, "status")) and s["ready"] and s["parent"] and s, 30) or {}
            check("the observer is ready, and says who feeds it", status.get("role") == "observer" and status.get("depth") == 1, status)
            row = [m for m in c.json(o, "cluster", "voters") if m["name"] == o][0]
            check("so does the list of voters", row["parent"] == status.get("parent") and row["depth"] == 1, row)
            shown = c.run(o, "cluster", "voters")[1]
            check("for people too", f"{status.get('parent')} (1)" in shown, shown)
            check("it writes", all(c.run(o, "journal", "append", "orders", "t", f"m{i}")[0] == 0 for i in range(5)))
            check("and has what was written", eventually(lambda: retained(c, o) == 5), retained(c, o))
            check("and takes a lock", c.run(o, "lock", "exec", "l", "--", "true")[0] == 0)
            parent = status.get("parent")
            c.kill(parent)
            other = next(n for n in of(c, "voter") if n != parent) if parent != "a" else "b"
            check("without its parent it is fed by another one",
                  c.run(other, "journal", "append", "orders", "t", "m5")[0] == 0 and eventually(lambda: retained(c, o) == 6), retained(c, o))
            status = eventually(lambda: (s := c.json(o, "status")) and s["parent"] not in (None, parent) and s) or {}
            check("and says so", status.get("parent") not in (None, parent), status)
            c.kill(o)
            c.run(other, "journal", "append", "orders", "t", "m6")
            c.start(o)
            check("after a crash it catches up", eventually(lambda: retained(c, o) == 7, 30), retained(c, o))
            c.start(parent)
            check("it leaves", eventually(lambda: c.run(o, "leave")[0] == 0, 30))
            check("and is gone", eventually(lambda: o not in roles(c, other), 30), roles(c, other))
        finally:
            c.end()
    finish()


if __name__ == "__main__":
    main()
