#!/usr/bin/env python3
"""A relay tree of two levels and more of real processes: entries reach the deepest nodes, and when a node in the middle
dies those below it find another parent, without a gap and without taking anything twice."""

import tempfile

from nodes import check, cluster, eventually, finish

NAMES = "abcdefghi"  # three vote, nobody is ready to, each feeds one: three levels of three
TREE = ["--max-voters", "3", "--standbys", "0", "--relay-fan-out", "1"]


def status(c, node):
    return c.json(node, "status") or {}


def messages(c, node):
    """What the journal holds on this node, in its order."""
    return [e["message"] for e in c.json(node, "journal", "peek", "orders", "--max", "1000") or []]


def main():
    with tempfile.TemporaryDirectory() as folder:
        c = cluster(folder, NAMES)
        try:
            for n in NAMES:
                c.start(n, *TREE)
            roles = lambda: {m["name"]: m["role"] for m in c.json("a", "cluster", "voters") or []}
            few = lambda: sorted(roles().values()) == ["observer"] * 6 + ["voter"] * 3
            check("three vote, six observe", eventually(few, 90), roles())
            observers = sorted(n for n, r in roles().items() if r == "observer")
            voters = sorted(set(NAMES) - set(observers))

            def tree():
                return {n: (s.get("parent"), s.get("depth")) for n in observers if (s := status(c, n)).get("ready")}

            def deep():
                t = tree()
                # Some node in the middle: an observer that feeds another one.
                return len(t) == 6 and any(p in observers for p, _ in t.values()) and t

            before = eventually(deep, 60) or tree()
            check("the tree is at least two levels deep", before and max(d or 0 for _, d in before.values()) >= 2, before)
            written = []

            def append(at, n):
                for _ in range(n):
                    written.append(f"m{len(written)}")
                    check(f"{written[-1]} is appended", c.run(at, "journal", "append", "orders", "t", written[-1])[0] == 0)

            deepest = max(before, key=lambda n: before[n][1] or 0)
            append(voters[0], 5)
            append(deepest, 5)
            same = lambda: all(messages(c, n) == written for n in observers)
            check("every observer has all of it, once, in order", eventually(same, 20), {n: messages(c, n) for n in observers})

            # Somebody in the middle dies while entries go on coming.
            middle = next(p for p, _ in before.values() if p in observers)
            below = [n for n, (p, _) in before.items() if p == middle]
            c.kill(middle)
            observers.remove(middle)
            append(voters[0], 10)
            check("those below it have what was written since, once, in order", eventually(same, 30),
                  {n: messages(c, n) for n in observers})
            moved = lambda: all((s := status(c, n)).get("ready") and s.get("parent") not in (None, "", middle) for n in below)
            check("they have another parent, and say so", eventually(moved, 30), tree())
            append(below[0], 5)
            check("they write", eventually(same, 20), {n: messages(c, n) for n in observers})

            # And comes back.
            c.start(middle, *TREE)
            observers.append(middle)
            check("it catches up with all of them", eventually(same, 30), {n: messages(c, n) for n in observers})
        finally:
            c.end()
    finish()


if __name__ == "__main__":
    main()
