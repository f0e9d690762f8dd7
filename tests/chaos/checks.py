"""What must hold of everything that the rack's clients wrote down, in their own words: each check gives the places where it does not.
Knows the lines that client.cpp writes, nothing of how they came about. Times are nanoseconds of one clock."""

import bisect
import collections

MARGIN = 50_000_000  # between two processes on a busy machine


def named(notes, what):
    return [x for x in notes if x["what"] == what]


def by(items, *keys):
    groups = collections.defaultdict(list)
    for x in items:
        groups[tuple(x[k] for k in keys)].append(x)
    return groups


def operations(history, *names):
    return [o for o in history if o["op"] in names]


def done(o):
    return o["return"] is not None and not refused(o)


def refused(o):
    return isinstance(o["output"], dict) and "error" in o["output"]


# ---- locks ------------------------------------------------------------------------------------------------------------

def overlapping_holds(notes):
    """From the grant's arrival to the release's sending, or to the end of validity that the holder was told."""
    for _, holds in sorted(by(named(notes, "hold"), "key").items()):
        last = None
        for h in sorted((h for h in holds if h["from"] < h["to"]), key=lambda h: h["from"]):
            if last and h["from"] < last["to"]:
                yield last, h
            if not last or h["to"] > last["to"]:
                last = h


def fences_not_rising(history, notes):
    """In the order of the holds, and whenever one grant had arrived before another was asked for; each fence once."""
    for _, holds in sorted(by(named(notes, "hold"), "key").items()):
        holds = sorted((h for h in holds if h["from"] < h["to"]), key=lambda h: h["from"])
        yield from ((a, b) for a, b in zip(holds, holds[1:]) if a["fence"] >= b["fence"])
    for _, grants in sorted(by(filter(done, operations(history, "acquire")), "key").items()):
        fences = collections.Counter(g["output"]["fence"] for g in grants)
        yield from ((f, n) for f, n in fences.items() if n > 1)
        yield from later_and_smaller(grants, lambda g: g["output"]["fence"], lambda g: g["output"]["fence"])


def later_and_smaller(items, high, low):
    """Pairs where the first had returned before the second was called, and yet high(first) >= low(second)."""
    returned, newest, i = sorted(items, key=lambda o: o["return"]), None, 0
    for o in sorted(items, key=lambda o: o["call"]):
        while returned[i]["return"] < o["call"]:
            if newest is None or high(returned[i]) > high(newest):
                newest = returned[i]
            i += 1
        if newest is not None and high(newest) >= low(o):
            yield newest, o


def refused_holders(notes):
    """A holder whose lease was valid when its write came back was told that somebody newer had written."""
    for h in named(notes, "hold"):
        yield from ((h["key"], h["fence"], w) for w in h["writes"] if h["from"] <= w["call"] and w["return"] <= h["to"] and not w["taken"])


def overwritten(writes):
    """The store of record took a write with an older fence than it had."""
    for _, list_ in sorted(by(writes, "key").items()):
        taken = [w for w in list_ if w["taken"]]
        yield from ((a, b) for a, b in zip(taken, taken[1:]) if a["fence"] > b["fence"])


# ---- journals ---------------------------------------------------------------------------------------------------------

class order:
    """The one order of each journal, as all nodes together saw it."""

    def __init__(self, history, notes):
        self.messages, self.conflicts = collections.defaultdict(dict), []
        for x in named(notes, "batch"):
            self.take(x["journal"], x["entries"], x)
        for o in operations(history, "read"):
            self.take(o["key"], o["output"]["entries"], o)
        self.ids = {j: sorted(m) for j, m in self.messages.items()}

    def take(self, journal, entries, where):
        known = self.messages[journal]
        for ident, message in entries:
            if known.setdefault(ident, message) != message:
                self.conflicts.append((journal, ident, known[ident], message, where.get("node")))

    def after(self, journal, ident, count):
        ids = self.ids.get(journal, [])
        at = bisect.bisect_right(ids, ident)
        return [[i, self.messages[journal][i]] for i in ids[at:at + count]]

    def last(self, journal):
        return self.ids[journal][-1] if self.ids.get(journal) else 0


def gaps_and_disorder(history, notes, all_):
    """What was handed out is not the entries that follow the cursor, each once, in the one order."""
    for x in named(notes, "batch"):
        if x["entries"] != all_.after(x["journal"], x["cursor"], len(x["entries"])):
            yield x["node"], x["journal"], x["cursor"], x["entries"][:3], all_.after(x["journal"], x["cursor"], 3)
    for o in operations(history, "read"):
        got = o["output"]["entries"]
        if got != all_.after(o["key"], o["input"]["after"], len(got)):
            yield o["key"], o["input"], got[:3]
    yield from named(notes, "gap")


def moved_cursors(notes):
    """A cursor stands where its node's consumer did not put it: what it had processed comes again, or something is left out."""
    for who, batches in sorted(by(named(notes, "batch"), "id", "journal").items()):
        batches.sort(key=lambda x: x["at"])
        for a, b in zip(batches, batches[1:]):
            possible = {a["moved"]} if a["moved"] is not None else {a["cursor"], *(i for i, _ in a["entries"])}
            if b["cursor"] not in possible:
                yield who, b["cursor"], sorted(possible)[:3]


def lost_entries(history, all_):
    """Acknowledged, but not there, or something else is."""
    for o in filter(done, operations(history, "append")):
        seen = all_.messages.get(o["key"], {})
        for ident, message in zip(o["output"], o["input"]):
            if seen.get(ident) != message:
                yield o["key"], ident, message, seen.get(ident)


def undrained(notes, all_):
    """A node whose consumer did not come to the end."""
    ends = {(x["node"], x["journal"]): x["cursor"] for x in named(notes, "drained")}
    nodes = {x["node"] for x in notes}
    for n in sorted(nodes):
        for j in all_.ids:
            if ends.get((n, j)) != all_.last(j):
                yield n, j, ends.get((n, j)), all_.last(j)


def repeated_entries(all_):
    """A message was appended once, and is there twice."""
    for j, messages in all_.messages.items():
        yield from ((j, m, n) for m, n in collections.Counter(messages.values()).items() if n > 1)


def revived_entries(history, all_):
    """Refused as surely not done, and yet there."""
    there = {m for messages in all_.messages.values() for m in messages.values()}
    for o in filter(refused, operations(history, "append")):
        yield from ((o["key"], m, o["output"]) for m in o["input"] if m in there)


def ids_not_rising(history):
    """Acknowledged before another append was called, and yet its id is not smaller."""
    appends = list(filter(done, operations(history, "append")))
    yield from later_and_smaller(appends, lambda o: max(o["output"]), lambda o: min(o["output"]))
    yield from (o for o in appends if o["output"] != sorted(set(o["output"])) or len(o["output"]) != len(o["input"]))


# ---- jobs -------------------------------------------------------------------------------------------------------------

def started_twice(starts):
    """One version, one scheduled time, one attempt: one start. The rack's versions differ in their generation; that replacing doubles
    nothing makes the generation irrelevant."""
    for key, list_ in sorted(by(starts, "job", "scheduled", "attempt").items()):
        if len(list_) > 1:
            yield key, list_
    for key, list_ in sorted(by(starts, "job", "fence").items()):
        if len(list_) > 1:
            yield key, list_


def attempts_out_of_order(starts):
    for key, list_ in sorted(by(starts, "job", "scheduled").items()):
        list_.sort(key=lambda s: s["attempt"])
        yield from ((key, a, b) for a, b in zip(list_, list_[1:]) if a["fence"] >= b["fence"])


def unrecorded(starts, runs, until, complete=1000):
    """Started without a claim in the history, which was read at `until`, or recorded as a success without having been started."""
    for (job,), list_ in sorted(by(runs, "job").items()):
        fences = {int(x["fence"]) for x in list_}
        mine = {s["fence"] for s in starts if s["job"] == job}
        if len(list_) < complete:
            before = {s["fence"] for s in starts if s["job"] == job and s["at"] < until}
            yield from ((job, "started, not recorded", f) for f in sorted(before - fences))
        yield from ((job, "a success, never started", x) for x in list_ if x["outcome"] == "success" and int(x["fence"]) not in mine)
        claims = by((x for x in list_ if x["outcome"] not in ("skipped", "unavailable")), "scheduled", "attempt")
        yield from ((job, "claimed twice", k) for k, v in claims.items() if len(v) > 1)


# ---- caches -----------------------------------------------------------------------------------------------------------

def stale_here(notes):
    """A look-up on a node that began after its own invalidation had returned gave what was loaded before."""
    yield from older_than_a_change(notes, lambda change, look: change["node"] == look["node"] and change["here"] and change["return"] < look["call"])


def stale_elsewhere(notes, quiet):
    """The same on another node, after an invalidation that waited for all, while nothing was broken."""
    def within(x):
        return any(a <= x["call"] and x["return"] <= b for a, b in quiet)

    calm = [x for x in notes if x["what"] in ("lookup", "change") and within(x)]
    yield from older_than_a_change(calm, lambda change, look: change["everywhere"] and change["return"] + MARGIN < look["call"])


def older_than_a_change(notes, counts):
    changes = by(named(notes, "change"), "key")
    for look in named(notes, "lookup"):
        for change in changes.get((look["key"],), []):
            if change["version"] > look["version"] and counts(change, look):
                yield change, look
                break


def stale_at_the_end(notes, versions):
    looks = named(notes, "last_lookup")
    yield from (x for x in looks if x["version"] != versions.get(x["key"], 0))
    missing = {x["node"] for x in named(notes, "lookup")} - {x["node"] for x in looks}
    yield from (f"{n} looked nothing up" for n in sorted(missing))


# ---- all services ----------------------------------------------------------------------------------------------------

def silences(notes, trouble):
    """A call that got no answer, not even a refusal, within its time-out and 3 s more, of a node that ran all the while."""
    for x in named(notes, "silence"):
        if not any(a < x["return"] and x["call"] < b for a, b in trouble.get(x["node"], [])):
            yield x


# ---- all --------------------------------------------------------------------------------------------------------------

def all_of_them(history, notes, starts, runs, until, writes, versions, quiet, trouble):
    """(what must hold, where it does not)"""
    entries = order(history, notes)
    yield "holds of a lock never overlap", list(overlapping_holds(notes))
    yield "fences rise in the order of grants", list(fences_not_rising(history, notes))
    yield "no valid holder meets a newer fence", list(refused_holders(notes))
    yield "the store of record is never overwritten by an older fence", list(overwritten(writes))
    yield "an entry is the same on every node", entries.conflicts
    yield "entries come in one order, without gaps", list(gaps_and_disorder(history, notes, entries))
    yield "a cursor moves only by its consumer", list(moved_cursors(notes))
    yield "every acknowledged entry is there", list(lost_entries(history, entries))
    yield "every node has processed every entry", list(undrained(notes, entries))
    yield "no entry is there twice", list(repeated_entries(entries))
    yield "no entry is there that was refused", list(revived_entries(history, entries))
    yield "ids of acknowledged entries rise", list(ids_not_rising(history))
    yield "each scheduled time and attempt starts at most once", list(started_twice(starts))
    yield "a later attempt has a larger fence", list(attempts_out_of_order(starts))
    yield "starts and the recorded history agree", list(unrecorded(starts, runs, until))
    yield "a look-up is never older than its node's own invalidation", list(stale_here(notes))
    yield "nor than one that all nodes had applied", list(stale_elsewhere(notes, quiet))
    yield "all caches have forgotten what was invalidated", list(stale_at_the_end(notes, versions))
    yield "every call ends in time", list(silences(notes, trouble))
