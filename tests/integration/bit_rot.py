#!/usr/bin/env python3
"""A byte of a table on the disk of a real process turns over: it ends when it meets it, and the next start is healed by
the other nodes, under the same identity."""

import pathlib
import random
import tempfile

from nodes import check, cluster, eventually, finish

ENTRIES = 300


def messages(c, node):
    return [e["message"] for e in c.json(node, "journal", "peek", "orders", "--max", "1000") or []]


def identity(c, node):
    return next((m["id"] for m in c.json(node, "members") or [] if m["name"] == node), None)


def tables(home):
    return sorted((home / "db").glob("*.sst"), key=lambda f: f.stat().st_size)


def flip(file):
    at = file.stat().st_size // 2
    with open(file, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))


def main():
    draw = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        c = cluster(folder)
        try:
            for n in "abc":
                c.start(n)
            check("three nodes are ready", all(s == 0 for s in c.wait(3)))
            written = [f"{i} " + "".join(draw.choices("0123456789abcdef", k=2_000)) for i in range(ENTRIES)]
            text = "".join(m + "\n" for m in written)
            check("entries are appended", eventually(lambda: c.run("a", "journal", "append", "orders", "t", "-", text=text)[0] == 0, 20))
            # One that joins gets the state as a whole, and so has it in tables.
            c.start("d")
            check("one that joins has them", eventually(lambda: messages(c, "d") == written, 40), len(messages(c, "d")))
            home = pathlib.Path(folder) / "d"
            was = identity(c, "d")
            c.stop("d")
            large = tables(home)[-1]
            check("most of them lie in a table", large.stat().st_size > 200_000, large.stat().st_size)
            flip(large)

            c.start("d")
            # Whoever reads it there ends the node.
            def met():
                c.run("d", "journal", "peek", "orders", "--max", "1000")
                return c.nodes["d"].poll() is not None
            check("it ends when it meets the damage", eventually(met, 30))
            check("with status 1", c.nodes["d"].poll() == 1, c.nodes["d"].poll())
            check("and a note for the next start", (home / "suspect").exists())
            c.run("a", "journal", "append", "orders", "t", "meanwhile")
            written.append("meanwhile")

            c.start("d")
            check("the next start is healed", eventually(lambda: messages(c, "d") == written, 40), len(messages(c, "d")))
            log = (pathlib.Path(folder) / "d.log").read_text()
            check("and says so", "the data here is damaged (Corruption" in log and "healed: state received from" in log, log[-2_000:])
            check("it is who it was", was and identity(c, "d") == was, identity(c, "d"))
            check("the note is gone", not (home / "suspect").exists())
            check("it writes", eventually(lambda: c.run("d", "journal", "append", "orders", "t", "after")[0] == 0, 20))
            written.append("after")
            c.stop("d")
            c.start("d")
            check("and starts again as any other", eventually(lambda: messages(c, "d") == written, 40), len(messages(c, "d")))
        finally:
            c.end()
    finish()


if __name__ == "__main__":
    main()
