#!/usr/bin/env python3
"""The wrap files, which cannot be tried without a network: each is complete, pinned by a hash, and provides a dependency
that meson.build asks for.

usage: wraps.py REPOSITORY
"""

import configparser
import pathlib
import re
import sys

NO_WRAP = {"capnp", "kj", "rocksdb"}  # wrapdb has none: the error message names the package


def faults(path, needed):
    wrap = configparser.ConfigParser(interpolation=None)
    wrap.read(path)
    if "wrap-file" not in wrap:
        return ["no [wrap-file]"]
    said = wrap["wrap-file"]
    found = [f"no {key}" for key in ("directory", "source_url", "source_filename", "source_hash") if not said.get(key)]
    if said.get("patch_url"):
        found += [f"no {key}" for key in ("patch_filename", "patch_hash") if not said.get(key)]
    found += [f"{key} is not a SHA-256" for key in said if key.endswith("_hash") and not re.fullmatch("[0-9a-f]{64}", said[key])]
    found += [f"{key} is not https" for key in said if key.endswith("url") and not said[key].startswith("https://")]
    provided = {name.strip() for name in wrap["provide"].pop("dependency_names", "").split(",")} | set(wrap["provide"])
    if not {name.lower() for name in provided} & {name.lower() for name in needed}:
        found.append(f"provides {', '.join(sorted(provided))}, which meson.build does not ask for")
    needed -= {name for name in needed if name.lower() in {provides.lower() for provides in provided}}
    return found


def main(root):
    needed = set(re.findall(r"^\s+'([\w-]+)': '[\w-]+',$", (root / "meson.build").read_text(), re.M))
    needed |= set(re.findall(r"needed \+= \{'([\w-]+)'", (root / "meson.build").read_text()))
    needed -= NO_WRAP
    wraps = sorted((root / "subprojects").glob("*.wrap"))
    failures = []
    for path in wraps:
        failures += [f"failed {path.name}: {fault}" for fault in faults(path, needed)]
    failures += [f"failed {name}: meson.build needs it and no wrap provides it" for name in sorted(needed)]
    print("\n".join(failures + [f"{len(wraps) - len(failures)} passed, {len(failures)} failed"]))
    return 1 if failures or not wraps else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
