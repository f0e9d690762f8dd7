#!/usr/bin/env python3
"""Each check of checks.py can fail: a history that is right passes all of them, and one with a planted fault fails just the check that
is meant to find it."""

import copy
import json
import os
import pathlib
import random
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
os.environ.setdefault("COTERIE", "")  # no node is started here

import checks
import faults
import membership_hour
import shim
from nodes import check, finish

S = 1_000_000_000


def hold(node, key, fence, start, end, *writes):
    return {"what": "hold", "node": node, "key": key, "fence": fence, "from": start, "to": end,
            "writes": [{"call": c, "return": c + 1, "taken": taken, "newest": fence} for c, taken in writes]}


def operation(op, key, call, back, given, output):
    return {"process": 0, "op": op, "key": key, "input": given, "output": output, "call": call, "return": back}


def batch(node, ident, cursor, entries, moved, at, journal="j"):
    return {"what": "batch", "node": node, "journal": journal, "id": ident, "cursor": cursor, "entries": entries, "moved": moved, "at": at}


def change(node, key, version, call, everywhere=True, here=True):
    return {"what": "change", "node": node, "key": key, "version": version, "everywhere": everywhere, "here": here, "call": call, "return": call + 10}


def look(node, key, version, call, what="lookup"):
    return {"what": what, "node": node, "key": key, "version": version, "hit": True, "call": call, "return": call + 10}


def start(job, scheduled, attempt, fence, generation="0"):
    return {"job": job, "generation": generation, "scheduled": scheduled, "attempt": attempt, "fence": fence, "node": "a", "at": 1}


def record(job, scheduled, attempt, fence, outcome="success"):
    return {"job": job, "scheduled": scheduled, "attempt": attempt, "fence": str(fence), "outcome": outcome}


def right():
    """A small run in which everything holds."""
    entries = [[1, "m1"], [2, "m2"], [4, "m4"]]
    return {
        "history": [
            operation("acquire", "k", 1, 5, None, {"fence": 10}),
            operation("acquire", "k", 21, 30, None, {"fence": 11}),
            operation("acquire", "k", 22, None, None, None),
            operation("acquire", "k", 23, 24, None, {"error": "held", "effect": "none"}),
            operation("append", "j", 1, 3, ["m1", "m2"], [1, 2]),
            operation("append", "j", 4, 6, ["m4"], [4]),
            operation("append", "j", 4, None, ["m5"], None),
            operation("append", "j", 4, 9, ["m6"], {"error": "no_quorum", "effect": "none"}),
            operation("read", "j", 7, 8, {"after": 1, "max": 50}, {"entries": entries[1:], "end": True}),
        ],
        "notes": [
            hold("a", "k", 10, 5, 20, (6, True), (19, True)), hold("b", "k", 11, 30, 40, (31, True)), hold("b", "other", 3, 6, 12),
            batch("a", "ia", 0, entries[:2], 2, 1), batch("a", "ia", 2, entries[2:], 4, 2),
            batch("b", "ib", 0, entries, None, 1), batch("b", "ib", 2, entries[2:], 4, 2),
            {"what": "drained", "node": "a", "journal": "j", "id": "ia", "cursor": 4, "at": 3},
            {"what": "drained", "node": "b", "journal": "j", "id": "ib", "cursor": 4, "at": 3},
            {"what": "silence", "node": "a", "request": 0, "call": 1, "return": 6},
            change("a", "c", 1, 100), look("a", "c", 1, 120), look("b", "c", 1, 120 + S), look("b", "c", 0, 90),
            look("a", "c", 1, 10 * S, "last_lookup"), look("b", "c", 1, 10 * S, "last_lookup"),
        ],
        "until": 100,
        "starts": [start("t", "t1", 1, 5), start("t", "t2", 1, 6), start("t", "t2", 2, 7), dict(start("t", "t9", 1, 20), at=101)],
        "runs": [record("t", "t1", 1, 5), record("t", "t2", 1, 6, "lost"), record("t", "t2", 2, 7), record("t", "t3", 1, 8, "skipped")],
        "writes": [{"key": "k", "fence": 10, "taken": True, "at": 1}, {"key": "k", "fence": 11, "taken": True, "at": 2},
                   {"key": "k", "fence": 10, "taken": False, "at": 3}],
        "versions": {"c": 1},
        "quiet": [[50, 20 * S]],
        "trouble": {"a": [[5, 9]]},
    }


def broken(data):
    return {what for what, wrong in checks.all_of_them(**data) if wrong}


def plant(what, change_it, also=()):
    data = copy.deepcopy(right())
    change_it(data)
    seen = broken(data)
    check(f"finds: {what}", seen == {what, *also}, seen)


def planted():
    def put(name, place, **fields):
        return lambda d: d[name][place].update(fields)

    def add(name, *items):
        return lambda d: d[name].extend(items)

    plant("holds of a lock never overlap", put("notes", 0, to=31))
    plant("fences rise in the order of grants", put("notes", 1, fence=9))
    plant("fences rise in the order of grants", lambda d: d["history"][1]["output"].update(fence=10))
    plant("fences rise in the order of grants", lambda d: d["history"][1]["output"].update(fence=8))
    plant("no valid holder meets a newer fence", lambda d: d["notes"][0]["writes"][1].update(taken=False))
    plant("the store of record is never overwritten by an older fence", put("writes", 2, taken=True))
    plant("an entry is the same on every node", lambda d: d["notes"].append(batch("c", "ic", 2, [[4, "other"]], 4, 1)),
          ["entries come in one order, without gaps", "every node has processed every entry"])
    plant("entries come in one order, without gaps", put("notes", 5, entries=[[1, "m1"], [4, "m4"]]),
          ["a cursor moves only by its consumer"])
    plant("entries come in one order, without gaps", put("notes", 5, entries=[[2, "m2"], [1, "m1"], [4, "m4"]]))
    plant("entries come in one order, without gaps", lambda d: d["history"][8]["output"].update(entries=[[4, "m4"]]))
    plant("entries come in one order, without gaps", add("notes", {"what": "gap", "node": "a", "journal": "j"}))
    plant("a cursor moves only by its consumer", lambda d: d["notes"].append(batch("a", "ia", 2, [[4, "m4"]], 4, 3)))
    plant("every acknowledged entry is there", add("history", operation("append", "j", 3, 5, ["m3"], [3])))
    plant("every acknowledged entry is there", lambda d: d["history"][6].update({"return": 12, "output": [7]}))
    plant("every node has processed every entry", put("notes", 8, cursor=2))
    plant("every node has processed every entry", lambda d: d["notes"].pop(7))
    plant("no entry is there twice", lambda d: [e.append([5, "m2"]) for e in (d["notes"][4]["entries"], d["notes"][6]["entries"])]
          + [d["notes"][i].update(moved=5, cursor=5) for i in (7, 8)])
    plant("no entry is there that was refused", lambda d: d["history"][7].update(input=["m4"]))
    plant("ids of acknowledged entries rise", lambda d: d["history"][4].update({"call": 7, "return": 9}))
    plant("ids of acknowledged entries rise", lambda d: (d["history"][4].update(input=["m2", "m1"], output=[2, 1])))
    plant("each scheduled time and attempt starts at most once", add("starts", start("t", "t1", 1, 9, "1")),
          ["starts and the recorded history agree"])
    plant("each scheduled time and attempt starts at most once", add("starts", start("t", "t1", 1, 5)), ["a later attempt has a larger fence"])
    plant("a later attempt has a larger fence", lambda d: (d["starts"][2].update(fence=4), d["runs"][2].update(fence="4")))
    plant("starts and the recorded history agree", add("starts", start("t", "t4", 1, 9)))
    plant("starts and the recorded history agree", add("runs", record("t", "t4", 1, 9)))
    plant("starts and the recorded history agree", add("runs", record("t", "t1", 1, 9, "lost")))
    plant("a look-up is never older than its node's own invalidation", add("notes", look("a", "c", 0, 121)))
    plant("nor than one that all nodes had applied", add("notes", look("b", "c", 0, 120 + S)))
    plant("all caches have forgotten what was invalidated", put("notes", 15, version=0))
    plant("all caches have forgotten what was invalidated", lambda d: d["notes"].pop(15))
    plant("every call ends in time", add("notes", {"what": "silence", "node": "a", "request": 0, "call": 10, "return": 16}))
    plant("every call ends in time", add("notes", {"what": "silence", "node": "b", "request": 0, "call": 1, "return": 6}))


def drawing():
    a, b = faults.draw(7, 600, 5), faults.draw(7, 600, 5)
    check("a seed draws the same faults again", a == b and a != faults.draw(8, 600, 5))
    some = [faults.draw(seed, 600, 5) for seed in range(10)]
    missing = {k for _, kinds in faults.LANES.values() for k in kinds} - {f["kind"] for drawn in some for f in drawn}
    check("every kind is drawn", not missing, missing)
    check("a schedule survives its file", [json.loads(json.dumps(f)) for f in a] == a)


def power_loss():
    """What shim.py takes away of three files of 20 bytes: half synced; its name never synced; all synced. And of one of 2 KiB that is
    written over between 100 and 1900, or a failed sync of that."""
    files = (("db/1.log", 10, 1), ("db/2.log", 0, 0), ("db/3.log", 20, 1))
    with tempfile.TemporaryDirectory() as folder:
        data, c = pathlib.Path(folder, "data"), shim.control(pathlib.Path(folder, "control"))
        (data / "db").mkdir(parents=True)
        seen = set()
        for seed in range(40):
            for i, (name, synced, its_name) in enumerate(files):
                shim.FILE.pack_into(c.map, shim.FILES_AT + i * shim.FILE.size, name.encode(), synced, 0, 0, 0, 0, its_name)
                (data / name).write_bytes(b"x" * 20)
            lost = c.lose_unsynced(data, random.Random(seed))
            left = [(data / name).stat().st_size if (data / name).exists() else None for name, _, _ in files]
            seen.add((*left, lost == 60 - sum(x or 0 for x in left)))
        check("a power loss keeps what was synced", {s[2:] for s in seen} == {(20, True)} and min(s[0] for s in seen) == 10, seen)
        check("of the rest it keeps a part", len({s[0] for s in seen}) > 3, seen)
        check("and it takes files whose name was not synced", {s[1] for s in seen} >= {None, 0}, seen)
        check("then everything that is there counts as durable", not list(c.files()))
        over = set()
        for seed in range(80):
            place = (100, 1900, 0, 0) if seed % 2 else (0, 0, 100, 1900)
            shim.FILE.pack_into(c.map, shim.FILES_AT, b"db/wal", 2048, *place, 1)
            (data / "db/wal").write_bytes(b"x" * 2048)
            lost = c.lose_unsynced(data, random.Random(seed))
            left = (data / "db/wal").read_bytes()
            over.add((left[:100] + left[1900:] == b"x" * 248, lost == left.count(0), left.count(0)))
        check("a power loss keeps what was not written over", {o[:2] for o in over} == {(True, True)}, over)
        check("of what was it keeps some sectors", {o[2] for o in over} >= {0, 1800} and len(over) > 6, over)


def verdicts():
    """The hour's judgement: one agent stood still from 10 to 13, and three others say what they say."""
    stops = {"a": [(10.0, 13.0), (40.0, 41.0)]}
    right = [(12.0, "b", "a", "b"), (12.1, "c", "a", "b"), (13.02, "e", "a", "e"), (13.05, "d", "a", "b")]

    def kinds(*declared):
        return [d[-1] for d in membership_hour.classify(sorted(declared), stops)]

    check("what was concluded while it stood still is true", kinds(*right) == ["own", "heard", "crossed", "late"], kinds(*right))
    for what, wrong in (("concluded when it had gone on", (13.1, "d", "a", "d")),
                        ("concluded before it was stopped", (9.9, "d", "a", "d")),
                        ("on one who never stood still", (12.5, "d", "c", "d")),
                        ("heard long after it had gone on", (14.5, "d", "a", "b")),
                        ("heard in another stop than it was concluded in", (40.5, "d", "a", "b")),
                        ("heard of one who concluded nothing", (12.5, "d", "a", "e")),
                        ("heard before anybody had concluded it", (9.0, "d", "a", "b"))):
        check(f"finds a verdict {what}", kinds(*right[:2], wrong).count("false") == 1, kinds(*right[:2], wrong))
    late = [(13.1, "b", "a", "b"), (13.15, "c", "a", "b")]
    check("finds one that is passed on but was false from the start", kinds(*late) == ["false", "false"], kinds(*late))


wrong = [x for x in checks.all_of_them(**right()) if x[1]]
check("a history that is right passes every check", not wrong, wrong)
planted()
drawing()
power_loss()
verdicts()
finish()
