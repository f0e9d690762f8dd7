#!/usr/bin/env python3
"""The checks are checked: each planted fault is found where it is, and a clean tree has no finding.

usage: self_test.py layers|style REPOSITORY
"""

import pathlib
import subprocess
import sys
import tempfile

HEAD = "// A file.\n"
HEADER = HEAD + "#pragma once\n"

# what is planted: file -> text, and what must be said of it, beginning with its place
LAYERS = [
    ({"src/raft/a.cpp": HEAD + '#include "swim/b.hpp"\n'}, "src/raft/a.cpp:2: raft includes swim/b.hpp"),
    ({"src/machine/a.hpp": HEAD + '#include "raft/b.hpp"\n'}, "src/machine/a.hpp:2: machine includes raft/b.hpp"),
    ({"src/base/a.hpp": HEAD + '#include "cron/b.hpp"\n'}, "src/base/a.hpp:2: base includes cron/b.hpp"),
    ({"src/net/a.cpp": HEAD + '#include "engine/b.hpp"\n'}, "src/net/a.cpp:2: net includes engine/b.hpp"),
    ({"src/engine/a.cpp": HEAD + "#include <asio.hpp>\n"}, "src/engine/a.cpp:2: engine includes asio.hpp: Asio stays in"),
    ({"src/engine/a.cpp": HEAD + "#include <asio/ip/tcp.hpp>\n"}, "src/engine/a.cpp:2: engine includes asio/ip/tcp.hpp"),
    ({"src/machine/a.cpp": HEAD + "#include <rocksdb/db.h>\n"}, "src/machine/a.cpp:2: machine includes rocksdb/db.h: RocksDB"),
    ({"src/runtime/a.cpp": HEAD + "#include <rocksdb/db.h>\n"}, "src/runtime/a.cpp:2: runtime includes rocksdb/db.h"),
    ({"src/raft/a.cpp": HEAD + "#include <capnp/message.h>\n"}, "src/raft/a.cpp:2: raft includes capnp/message.h"),
    ({"src/engine/a.cpp": HEAD + '#include "wire/schemas/x.capnp.h"\n'}, "src/engine/a.cpp:2: engine includes wire/schemas"),
    ({"src/swim/a.cpp": HEAD + "#include <thread>\n"}, "src/swim/a.cpp:2: swim includes <thread>"),
    ({"src/cron/a.cpp": HEAD + "#include <mutex>\n"}, "src/cron/a.cpp:2: cron includes <mutex>"),
    ({"src/raft/a.hpp": HEAD + "#include <unordered_map>\n"}, "src/raft/a.hpp:2: raft includes <unordered_map>"),
    ({"src/raft/a.hpp": HEAD + "#include <random>\n"}, "src/raft/a.hpp:2: raft includes <random>"),
    ({"src/raft/a.cpp": HEAD + "#include <unistd.h>\n"}, "src/raft/a.cpp:2: raft includes <unistd.h>"),
    ({"src/raft/a.cpp": HEAD + "#include <boost/any.hpp>\n"}, "src/raft/a.cpp:2: raft includes <boost/any.hpp>: unknown"),
    ({"src/base/a.hpp": HEAD + "#include <mutex>\n"}, "src/base/a.hpp:2: base includes <mutex> in a header"),
    ({"src/raft/a.cpp": HEAD + "void f() { std::shuffle(a, b, c); }\n"}, "src/raft/a.cpp:2: raft has std::shuffle"),
    ({"src/engine/a.cpp": HEAD + "auto t = std::chrono::steady_clock::now();\n"}, "src/engine/a.cpp:2: engine has steady_clock"),
    ({"src/engine/a.cpp": HEAD + "\nvoid f() { throw 1; }\n"}, "src/engine/a.cpp:3: engine has throw"),
    ({"src/swim/a.hpp": HEAD + "struct s { virtual void f(); };\n"}, "src/swim/a.hpp:2: swim has virtual"),
    ({"src/runtime/a.cpp": HEAD + "task f() { co_return; }\n"}, "src/runtime/a.cpp:2: runtime has co_return"),
    ({"src/raft/a.cpp": HEAD + '#include "b.hpp"\n'}, 'src/raft/a.cpp:2: raft includes "b.hpp": write it relative to src'),
    ({"src/raft/a.cpp": HEAD + '#include "coterie/coterie.hpp"\n'}, "src/raft/a.cpp:2: raft includes coterie/coterie.hpp"),
    ({"src/raft/meson.build": "sources = files()\nuses = [base_dep, swim_dep]\n"}, "src/raft/meson.build:2: raft uses swim_dep"),
    ({"src/attic/a.cpp": HEAD}, "src/attic:1: unknown layer"),
    ({"include/coterie/a.hpp": HEAD + "#include <fmt/format.h>\n"}, "include/coterie/a.hpp:2: a public header includes fmt/"),
    ({"include/coterie/a.hpp": HEAD + '#include "base/ids.hpp"\n'}, "include/coterie/a.hpp:2: a public header includes base/"),
    ({"tools/coterie/a.cpp": HEAD + '#include "raft/core.hpp"\n'}, "tools/coterie/a.cpp:2: tools/coterie includes raft/core.hpp"),
    ({"docs/examples/a.cpp": HEAD + '#include "base/ids.hpp"\n'}, "docs/examples/a.cpp:2: an example includes base/ids.hpp"),
]
LAYERS_CLEAN = {
    "src/base/a.hpp": HEADER + '#include <fmt/format.h>\n#include <tl/expected.hpp>\n#include "coterie/error.hpp"\n',
    "src/base/hash.cpp": HEAD + "#include <xxhash.h>\n",
    "src/raft/a.cpp": HEAD + '#include <map>\n#include "base/a.hpp"\n// std::shuffle, throw\nconst char* s = "virtual throw";\n',
    "src/wire/a.cpp": HEAD + '#include <capnp/message.h>\n#include "wire/schemas/x.capnp.h"\n#include "machine/m.hpp"\n',
    "src/store/a.cpp": HEAD + "#include <rocksdb/db.h>\n#include <unistd.h>\n#include <mutex>\n",
    "src/net/a.cpp": HEAD + "#include <asio.hpp>\n#include <sys/socket.h>\nvoid f() { throw 1; }\n",
    "src/engine/meson.build": "sources = files()\nuses = [wire_dep, base_dep]\n",
    "tools/coterie/a.cpp": HEAD + '#include <CLI/CLI.hpp>\n#include <coterie/coterie.hpp>\n#include "a.hpp"\n',
    "docs/examples/a.cpp": HEAD + "#include <coterie/coterie.hpp>\n#include <unistd.h>\n",
}

STYLE = [
    ({"src/raft/a.cpp": HEAD + "int   f( ){return 1;}\n"}, "src/raft/a.cpp:2: not as clang-format has it"),
    ({"src/raft/a.cpp": HEAD + "// T" + "ODO: later\n"}, "src/raft/a.cpp:2: 'T" + "ODO': an open end"),
    ({"docs/a.md": "see /wo" + "rk/main\n"}, "docs/a.md:1: '/wo" + "rk/': a path of one machine"),
    ({"tools/a": "curl http://deb.deb" + "ian.org\n"}, "tools/a:1: 'deb.deb" + "ian.org'"),
    ({"docs/a.md": "written by an A" + "I\n"}, "docs/a.md:1: 'A" + "I'"),
    ({"src/raft/a.cpp": HEAD + "// As gone" + ".md 1 says.\n"}, "src/raft/a.cpp:2: cites gone.md, which is not there"),
    ({"src/raft/a.cpp": HEAD + "int x;  // docs/gone" + ".md\n"}, "src/raft/a.cpp:2: cites docs/gone.md, which is not there"),
    ({"src/raft/a.cpp": "int x;\n"}, "src/raft/a.cpp:1: no comment at its head"),
    ({"src/raft/a.hpp": HEAD + "int x;\n"}, "src/raft/a.hpp:1: no #pragma once"),
    ({"src/raft/CamelCase.cpp": HEAD}, "src/raft/CamelCase.cpp:1: its name is not in snake_case"),
    ({"tools/a.sh": "true \n"}, "tools/a.sh:1: white space at the line's end"),
    ({"include/coterie/a.hpp": HEADER + "\nstd::string f;  // text\n"}, "include/coterie/a.hpp:1: does not compile alone"),
    ({"include/coterie/a.hpp": HEADER + "\nint f();\n"}, "include/coterie/a.hpp:4: f is public and nothing says"),
    ({"include/coterie/a.hpp": HEADER + "\nstruct s {\n  int x;\n};\n"}, "include/coterie/a.hpp:4: s is public and nothing says"),
    ({"include/coterie/a.hpp": HEADER + "\n/// A class.\nclass c {\n public:\n  c();\n\n  int f(int a) const;\n};\n"},
     "include/coterie/a.hpp:9: f is public and nothing says"),
    ({"include/coterie/a.hpp": HEADER + "\nenum class e { a, b };\n"}, "include/coterie/a.hpp:4: e is public and nothing says"),
]
STYLE_CLEAN = {
    "docs/page.md": "A page.\n",
    "README.md": "Read docs/later.md.\n",
    "src/raft/b.cpp": "// A file (docs/page.md 1.2, README.md).\nconst char* s = \"gone.md\";\n",
    "src/raft/a.cpp": HEAD + "int f() { return 1; }  // TO" + "DO(#12): better\n",
    "include/coterie/a.hpp": HEADER + """
#include <string>

namespace coterie {

class forward;

/// A class.
class c {
 public:
  c();
  explicit c(int);
  ~c();
  c(const c&) = delete;

  /// Does it.
  int f(int a) const;
  int f(int a, int b) const;
  int g() const { return x_; }  ///< the x

 private:
  void hidden();
  int x_ = 0;
};

/// Options.
struct options {
  int a = 1;  ///< how many
  std::string name{"x"};
};

/// What it is.
enum class e { a, b };

/// Free.
inline int h(const options& o = {}) {
  int x = o.a;
  return x;
}

template <typename T>
struct undocumented_by_forward;

}  // namespace coterie
""",
}


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(tool, repository, files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "src").mkdir()
        write(root, files)
        write(root, {".clang-format": (repository / ".clang-format").read_text(),
                     "tests/style/banned_words.txt": (repository / "tests/style/banned_words.txt").read_text()})
        run = subprocess.run([sys.executable, repository / tool, "--root", root], capture_output=True, text=True, check=False)
        return run.returncode, run.stdout + run.stderr


def main(which, repository):
    tool, planted, clean = {"layers": ("tools/check_layers", LAYERS, LAYERS_CLEAN),
                            "style": ("tools/check_style", STYLE, STYLE_CLEAN)}[which]
    passed, failures = 0, []
    status, output = check(tool, repository, clean)
    if status == 0:
        passed += 1
    else:
        failures.append(("clean tree", output.strip().replace("\n", "; ")))
    for files, expected in planted:
        status, output = check(tool, repository, files)
        if expected.endswith("has it") and "format skipped" in output:
            continue
        if status == 1 and any(line.startswith(expected) for line in output.splitlines()):
            passed += 1
        else:
            failures.append((expected.replace(":", " "), f"not found, but: {output.strip()}".replace("\n", "; ")))
    for name, why in failures:
        print(f"failed {name}: {why}")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2])))
