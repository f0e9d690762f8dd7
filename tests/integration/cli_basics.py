#!/usr/bin/env python3
"""The command from a user's side: three real nodes on loopback, then locks, jobs, journals and messages from the shell.

usage: COTERIE=path/to/coterie cli_basics.py
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from nodes import COTERIE, alive, check, cluster, eventually, finish


def run(*words, node="a", text=None):
    """Exit status, output, errors."""
    command = [COTERIE] + (["--node", node] if node else []) + list(words)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def started(folder):
    """Three nodes, of which b has runners."""
    (folder / "b.toml").write_text('[runner.echo]\ncommand = ["sh", "-c", "echo first; echo $COTERIE_PARAM_word"]\n'
                                   f'[runner.long]\ncommand = ["sh", "-c", "echo $$ > {folder}/long; sleep 100"]\n')
    c = cluster(folder)
    c.start("a")
    c.start("b", "--config", str(folder / "b.toml"))
    c.start("c")
    return c


def usage():
    check("a command that is not built", run("doctor", node=None)[0] == 2)
    check("an unknown command", run("frobnicate", node=None)[0] == 2)
    check("an option that is not built", run("run", "--key", "x", node=None)[0] == 2)
    check("another zone", run("job", "next", "0 0 0 * * ?", "--zone", "Europe/Berlin", node=None)[0] == 2)
    check("--version", run("--version", node=None)[1].startswith("coterie "))
    status, _, errors = run("job", "next", "0 60 * * * ?", node=None)
    line, mark = (errors.split("\n") + [""])[:2]
    check("a wrong cron expression", status == 2 and line[mark.find("^"):].startswith("60 "), errors)
    status, out, _ = run("job", "next", "0 30 2 1 1 ?", "--count", "2", "--json", node=None)
    check("job next", status == 0 and len(json.loads(out)) == 2, out)


def nobody():
    status, _, errors = run("status", node=None)
    check("no node", status == 3 and errors.startswith("coterie: no node"), errors)


def gossip_only(folder):
    folder.mkdir()
    c = cluster(folder)
    c.start("a", "--gossip-only")
    try:
        check("a node without a log says so", eventually(lambda: "no log: this node runs with --gossip-only\n" in run("status")[1]), run("status"))
        check("and refuses what needs one", run("lock", "exec", "x", "--", "true")[0] > 100)
    finally:
        c.end()


def membership():
    status, out, errors = run("members", "--wait", "3", "--timeout", "30s", "--json")
    check("members --wait", status == 0 and [m["name"] for m in json.loads(out)] == ["a", "b", "c"], out + errors)
    check("every node is ready", eventually(lambda: all(json.loads(run("status", "--json", node=n)[1])["ready"] for n in "abc")))
    status, _, errors = run("status", node=None)
    check("several nodes: which?", status == 2 and "c-" in errors, errors)
    status, _, errors = run("members", "--wait", "4", "--timeout", "1s")
    check("members --wait runs out, and says how many there are", status == 5 and "3 of 4 members are alive" in errors, errors)
    status, out, _ = run("rtt", "b", "c", "--json")
    check("rtt between two others", status == 0 and {"from", "to", "estimated_ms", "measured_ms", "error"} == set(json.loads(out)), out)
    status, out, _ = run("rtt", "b")
    check("rtt measured from here", status == 0 and out.startswith("a - b: ") and "measured" in out, out)
    check("rtt to itself", run("rtt", "a")[0] == 1)
    status, out, _ = run("why", "b", "--json")
    check("why", status == 0 and json.loads(out)["transitions"][0]["what"] == "joined", out)
    check("why of nobody", run("why", "nobody")[0] == 1)
    status, _, errors = run("remove", "b")
    check("who is alive is not removed", status == 1 and "coterie leave" in errors, errors)
    watch = subprocess.Popen([COTERIE, "--node", "a", "members", "--watch", "--json"], stdout=subprocess.PIPE, text=True)
    lists = [json.loads(watch.stdout.readline()) for _ in range(2)]
    watch.kill()
    watch.wait()
    check("members --watch tells them again and again", all([m["name"] for m in l] == ["a", "b", "c"] for l in lists), lists)


def removed(c):
    """c is gone for good, comes back all the same, and is told what to do."""
    c.kill("c")
    gone = lambda: next(m["state"] for m in json.loads(run("members", "--json")[1]) if m["name"] == "c") == "failed"
    check("a member that was killed has failed", eventually(gone, 20))
    status, out, errors = run("remove", "c", "--json")
    check("remove", status == 0 and json.loads(out) == {"node": "c", "state": "removed"}, out + errors)
    c.start("c")
    check("it ends when it returns", c.nodes["c"].wait(30) == 1, c.nodes["c"].returncode)
    told = (c.folder / "c.log").read_text().splitlines()[-1]
    check("and is told why, and what to do", "removed" in told and "--rejoin" in told, told)
    c.start("c", "--rejoin")
    check("so it comes back as a new node", run("members", "--wait", "3", "--timeout", "30s")[0] == 0)
    check("and is ready", eventually(lambda: (c.json("c", "status") or {}).get("ready"), 30))


def tags(c):
    status, out, errors = run("tag", "zone=b", "rack=7")
    check("tag shows the tags", status == 0 and out == "rack=7\nzone=b\n", out + errors)
    seen = lambda node, of="a": next(m["tags"] for m in json.loads(run("members", "--json", node=node)[1]) if m["name"] == of)
    check("all see them", eventually(lambda: all(seen(n) == {"zone": "b", "rack": "7"} for n in "abc"), 3), seen("c"))
    status, out, _ = run("tag", "zone=c", "--remove", "rack", "--remove", "none", "--json")
    check("tag --remove", status == 0 and json.loads(out) == {"node": "a", "tags": {"zone": "c"}}, out)
    check("all see that, too", eventually(lambda: all(seen(n) == {"zone": "c"} for n in "abc"), 3), seen("c"))
    status, _, errors = run("tag", "note=" + 600 * "x")
    check("too much is refused with the limit", status == 1 and "512" in errors, errors)
    check("a tag is key=value", run("tag", "zone")[0] == 2 and run("tag", "=b")[0] == 2)
    check("not both", run("tag", "zone=b", "--remove", "zone")[0] == 2)
    words = [COTERIE, "run", "--name", "d", "--gossip-only", "--bind", "127.0.0.1:0", "--tag", "note=" + 600 * "x"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    check("and at the start", done.returncode == 1 and "512" in done.stderr, done.stderr)


def locks(c):
    status, out, _ = run("lock", "exec", "x", "--", "sh", "-c", "echo $COTERIE_FENCE; exit 3")
    check("lock exec returns the status", status == 3 and int(out) > 0, out)
    holder = subprocess.Popen([COTERIE, "--node", "a", "lock", "exec", "x", "--", "sh", "-c", f"sleep 100 & echo $! > {c.folder}/inner; wait"])
    check("it is held", eventually(lambda: "x" in [k["name"] for k in json.loads(run("lock", "list", "--json")[1])]))
    here = json.loads(run("lock", "list", "--stale", "--json", node="b")[1])
    check("a stale list says its age", here["as_of"]["index"] > 0 and here["as_of"]["age_ms"] >= 0 and "locks" in here, here)
    check("in words as well", re.search(r"^as of entry \d+, at most \d+ ms old$", run("lock", "list", "--stale", node="b")[1], re.M))
    check("a wide bound is met", run("lock", "show", "x", "--max-age", "1h", node="b")[0] == 0)
    check("lock exec --wait 0", run("lock", "exec", "x", "--wait", "0", "--", "true", node="b")[0] == 106)
    inner = int((c.folder / "inner").read_text())
    holder.kill()
    holder.wait()
    check("the command dies with a killed exec", eventually(lambda: not alive(inner), 2))
    check("and the lock is free soon", run("lock", "exec", "x", "--wait", "20s", "--", "true", node="b")[0] == 0)
    check("no such command", run("lock", "exec", "x", "--", "/no/such")[0] == 127)
    passing = subprocess.Popen([COTERIE, "--node", "a", "lock", "exec", "y", "--", "sh", "-c", f"trap 'exit 7' TERM; echo > {c.folder}/up; sleep 100 & wait"])
    eventually((c.folder / "up").exists)
    passing.send_signal(signal.SIGTERM)
    check("TERM is passed on", passing.wait(10) == 7)


def journals():
    ids = [int(run("journal", "append", "orders", "t", f"m{i}")[1]) for i in range(3)]
    more = run("journal", "append", "orders", "t", "-", node="b", text="x\ny\n")[1].split()
    check("append prints ids", ids == sorted(ids) and len(more) == 2 and int(more[0]) > ids[-1], more)
    check("count on another node", eventually(lambda: run("journal", "count", "orders", node="c")[1] == "5\n"))
    status, out, _ = run("journal", "process", "orders", "--", "sh", "-c", f"cat; echo ok {ids[1]}; exit 4", node="c")
    lines = [json.loads(x) for x in out.splitlines()]
    check("process gives JSON lines", status == 4 and [x["id"] for x in lines][:3] == ids, out)
    check("ok ID counts whatever the exit", run("journal", "count", "orders", node="c")[1] == "3\n")
    run("journal", "process", "orders", "--", "false", node="c")
    check("failure moves nothing", run("journal", "count", "orders", node="c")[1] == "3\n")
    run("journal", "process", "orders", "--", "sh", "-c", f"cat > /dev/null; echo failed {more[1]}", node="c")
    check("failed ID: again from there", run("journal", "count", "orders", node="c")[1] == "1\n")
    check("success moves all", run("journal", "process", "orders", "--", "true", node="c")[0] == 0
          and run("journal", "count", "orders", node="c")[1] == "0\n")
    check("a bad name", run("journal", "append", "A b", "t", "m")[0] == 1)


def jobs(c):
    status, out, _ = run("job", "add", "quick", "--every", "500ms", "--runner", "echo", "--param", "word=last")
    check("job add", status == 0 and out.startswith("quick: next "), out)

    def ran():
        runs = json.loads(run("job", "history", "quick", "--json")[1])
        return any(r["outcome"] == "success" and r["message"] == "last" and r["node"] == "b" for r in runs)
    check("the command ran on the node that has it", eventually(ran))
    check("stale jobs", json.loads(run("job", "list", "--stale", "--json", node="a")[1])["as_of"]["age_ms"] >= 0)
    check("a stale history", "as of entry" in run("job", "history", "quick", "--stale", node="a")[1])
    check("job list", [j["id"] for j in json.loads(run("job", "list", "--json")[1])] == ["quick"])
    check("job remove", run("job", "remove", "quick")[0] == 0 and run("job", "show", "quick")[0] == 1)
    run("job", "add", "slow", "--every", "300ms", "--runner", "long")
    check("a long run begins", eventually(lambda: (c.folder / "long").exists() and (c.folder / "long").read_text().strip()))
    pid = int((c.folder / "long").read_text())
    c.nodes["b"].kill()
    c.nodes["b"].wait()
    check("the command dies with a killed node", eventually(lambda: not alive(pid), 2))
    run("job", "remove", "slow")


def end(c):
    c.nodes["c"].send_signal(signal.SIGTERM)
    check("SIGTERM stops a node with 0", c.nodes["c"].wait(15) == 0)
    # Until the loss is noticed an append is sent, and its outcome is then honestly unknown.
    check("the loss of the quorum is seen", eventually(lambda: not json.loads(run("status", "--json")[1])["quorum"]))
    status, _, errors = run("journal", "append", "orders", "t", "m", "--timeout", "7s")
    check("no quorum", status == 4, f"{status} {errors}")
    check("count needs none", run("journal", "count", "orders")[0] == 0)
    check("nor does a stale read", run("lock", "list", "--stale")[0] == 0 and run("job", "list", "--stale")[0] == 0)
    status, _, errors = run("lock", "list", "--max-age", "1ms")
    check("whose age has a bound", status == 1 and "ms old" in errors, f"{status} {errors}")
    check("as a count's has", run("journal", "count", "orders", "--max-age", "1ms")[0] == 1)
    check("lock exec without quorum", run("lock", "exec", "x", "--", "true")[0] == 104)


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-cli-") as folder:
        folder = pathlib.Path(folder)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        usage()
        nobody()
        gossip_only(folder / "gossip")
        c = started(folder)
        try:
            membership()
            tags(c)
            removed(c)
            locks(c)
            journals()
            jobs(c)
            end(c)
        finally:
            c.end()
    finish()


if __name__ == "__main__":
    main()
