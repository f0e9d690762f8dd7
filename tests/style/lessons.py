#!/usr/bin/env python3
"""The tables of docs/consensus.md section 3 name tests that exist: each reference stands in the name of a test of the suites beside
it, and in decision 6 where the row says so; each pattern matches a test; and each test with the tag [lesson] is in the table.

usage: lessons.py REPOSITORY
"""

import collections
import fnmatch
import pathlib
import re
import sys

TEST = re.compile(r'TEST_CASE\(\s*((?:"(?:\\.|[^"\\])*"\s*)+)(?:,\s*"([^"]*)")?')


def tests_of(suite, root):
    """Names with whether they are tagged [lesson]."""
    layer = suite.removeprefix("unit_")
    folder = root / "tests" / ("contract" if suite == "contract_store" else f"unit/{layer}")
    for path in sorted(folder.rglob("*.cpp")):
        for name, tags in TEST.findall(path.read_text()):
            yield "".join(re.findall(r'"((?:\\.|[^"\\])*)"', name)), "[lesson]" in tags


def main(root):
    text = (root / "docs/consensus.md").read_text()
    section = re.search(r"\n## 3\. (.*?)\n## ", text, re.S)[1]
    decision = (root / "docs/decisions/0006-lessons-that-cannot-happen-here.md").read_text()
    planted = set(re.findall(r"^  '(\w+)',$", (root / "tests/sim/meson.build").read_text(), re.M))
    suites = ["contract_store", *sorted(f"unit_{path.name}" for path in (root / "tests/unit").iterdir() if path.is_dir())]
    names = {suite: list(tests_of(suite, root)) for suite in suites}
    shown = collections.defaultdict(set)  # reference -> suites with a test of that name
    for suite, tests in names.items():
        for name, lesson in tests:
            if lesson:
                for key in re.search(r"\(([^()]*)\)$", name)[1].split(", "):
                    shown[key].add(suite)

    rows = re.findall(r"^\| (.*?) \| .*? \| (.*?) \|$", section, re.M)[1:]
    failures, named = [], set()
    for keys, where in rows:
        wanted = set(re.findall(r"`(\w+)`", where))
        found = set().union(*(shown[key] for key in keys.split(", ")))
        failures += [f"{keys}: no test of {suite} is named after it" for suite in wanted - found if not suite.startswith("sim")]
        failures += [f"{keys}: its test in {suite} is not in the table" for suite in found - wanted]
        failures += [f"{keys}: {sim} is no test" for sim in wanted if sim.startswith("sim_") and sim[len("sim_finds_"):] not in planted]
        for key in keys.split(", "):
            named.add(key)
            if not shown[key]:
                failures.append(f"{key}: no test is named after it")
        if where.endswith("6") and not any(key in decision for key in keys.split(", ")):
            failures.append(f"{keys}: decision 6 does not know it")
    failures += [f"{key}: a test is named after it, and the table has no such row" for key in sorted(set(shown) - named)]
    patterns = re.findall(r"`(\w+) '([^'\[]+)'`", section)
    failures += [f"{suite} '{pattern}' matches no test" for suite, pattern in patterns
                 if not any(fnmatch.fnmatchcase(name, pattern) for name, _ in names[suite])]
    if len(rows) < 2 or not patterns:
        failures.append("docs/consensus.md section 3 has no tables")
    print("\n".join([f"failed {failure}" for failure in failures] + [f"{len(rows) + len(patterns) - len(failures)} passed, {len(failures)} failed"]))
    return 1 if failures else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
