#!/usr/bin/env python3
"""Every C++ block of the README compiles as it stands, against the public headers alone.

usage: readme.py ROOT
"""

import os
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
blocks = re.findall(r"```cpp\n(.*?)```", (root / "README.md").read_text(), re.S)
compiler = os.environ.get("CXX", "c++").split()
failed = 0
for number, block in enumerate(blocks, 1):
    done = subprocess.run([*compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{root / 'include'}", "-x", "c++", "-"],
                          input=block, capture_output=True, text=True)
    if done.returncode:
        failed += 1
        print(f"README block {number} does not compile:\n{done.stderr}")
if not blocks:
    failed += 1
    print("README has no C++ block: the example is gone")
sys.exit(1 if failed else 0)
