// check_history: reads recorded histories in any of the formats and says which are linearizable.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "linearizability/checker.hpp"
#include "linearizability/recorded.hpp"

namespace {

using namespace coterie::linearizability;
namespace fs = std::filesystem;

enum exit_code { all_linearizable = 0, some_not = 1, unusable = 2, some_unknown = 3 };

struct arguments {
  options how;
  fs::path expected;
  std::vector<fs::path> files;
};

int usage() {
  fmt::print(
      stderr,
      "usage: check_history [--model register|kv|lock|journal|auto] [--steps N] [--seconds N] FILE...\n"
      "       check_history [...] --expect VERDICTS.tsv\n"
      "Reads histories: lines of JSON, Jepsen's log of a register, or maps of a key-value store.\n"
      "  --model    what the operations mean; auto (the default) tells it from each operation\n"
      "  --steps    how much to search for each key (default 50000000)\n"
      "  --seconds  how long to search for each file (default 60, 0 = no limit)\n"
      "  --expect   checks the files that the table names, beside it, against the verdicts it gives them\n"
      "Exit status: 0 all are linearizable (with --expect: all are as expected), 1 not, 2 wrong usage or unreadable,\n"
      "3 the limits were reached before it was known.\n");
  return unusable;
}

bool number(std::string_view text, std::uint64_t max, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value <= max;
}

bool model_named(std::string_view text, model& m) {
  for (const auto candidate : {model::automatic, model::register_, model::key_value, model::lock, model::journal}) {
    if (name_of(candidate) != text) continue;
    m = candidate;
    return true;
  }
  return false;
}

bool parse(int argc, char** argv, arguments& a) {
  a.how.spend.time = std::chrono::seconds(60);
  for (int i = 1; i < argc; ++i) {
    const std::string_view o = argv[i];
    if (!o.starts_with("--")) {
      a.files.emplace_back(o);
      continue;
    }
    if (++i == argc) return false;
    std::uint64_t n = 0;
    if (o == "--model") {
      if (!model_named(argv[i], a.how.meaning)) return false;
    } else if (o == "--steps") {
      if (!number(argv[i], UINT64_MAX, a.how.spend.steps)) return false;
    } else if (o == "--seconds") {
      if (!number(argv[i], 1'000'000, n)) return false;
      a.how.spend.time = std::chrono::seconds(n);
    } else if (o == "--expect") {
      a.expected = argv[i];
    } else {
      return false;
    }
  }
  return a.files.empty() != a.expected.empty();
}

// The verdict of a file as an exit code; prints it unless it is the expected one.
exit_code judge(const fs::path& file, const arguments& a, std::string_view expected = {}) {
  const auto begin = std::chrono::steady_clock::now();
  const auto h = read_file(file);
  if (!h) {
    const auto line = h.error().line > 0 ? fmt::format(":{}", h.error().line) : std::string();
    fmt::print(stderr, "{}{}: {}\n", file.string(), line, h.error().what);
    return unusable;
  }
  const auto r = check(*h, a.how);
  if (!r) {
    const auto& o = (*h)[r.error().operation];
    fmt::print(stderr, "{}: {} (operation {}, called at {} by process {})\n", file.string(), r.error().what,
               r.error().operation + 1, o.call, o.process);
    return unusable;
  }
  if (expected == name_of(r->what)) return all_linearizable;
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  fmt::print("{}: {} ({} operations, {} keys, {} steps, {:.1f} ms)\n", file.string(), name_of(r->what), r->operations,
             r->keys, r->steps, took.count());
  for (const auto& f : r->failures) fmt::print("{}", f.text());
  if (r->failed > r->failures.size()) fmt::print("and {} more keys\n", r->failed - r->failures.size());
  for (const auto& u : r->undecided) fmt::print("  not decided within the limits: {}\n", u);
  if (!expected.empty()) {
    fmt::print("{}: expected {}\n", file.string(), expected);
    return some_not;
  }
  return r->what == verdict::linearizable ? all_linearizable : r->what == verdict::unknown ? some_unknown : some_not;
}

// The first of these in the order that a caller must know of them: unusable, not linearizable, unknown.
exit_code worse(exit_code a, exit_code b) {
  for (const auto c : {unusable, some_not, some_unknown})
    if (a == c || b == c) return c;
  return all_linearizable;
}

exit_code judge_expected(const arguments& a) {
  std::ifstream in(a.expected);
  std::string line;
  std::size_t files = 0, agree = 0;
  exit_code all = all_linearizable;
  while (std::getline(in, line)) {
    const auto tab = line.find('\t');
    const auto wanted = tab == std::string::npos ? std::string() : line.substr(tab + 1);
    if (wanted != name_of(verdict::linearizable) && wanted != name_of(verdict::not_linearizable)) {
      fmt::print(stderr, "{}:{}: not FILE, a tab, and linearizable or not_linearizable\n", a.expected.string(),
                 files + 1);
      return unusable;
    }
    const auto code = judge(a.expected.parent_path() / line.substr(0, tab), a, wanted);
    all = worse(all, code);
    ++files;
    agree += code == all_linearizable;
  }
  if (files == 0) {
    fmt::print(stderr, "{}: no verdicts\n", a.expected.string());
    return unusable;
  }
  fmt::print("{} of {} verdicts agree\n", agree, files);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  if (!parse(argc, argv, a)) return usage();
  if (!a.expected.empty()) return judge_expected(a);
  exit_code all = all_linearizable;
  for (const auto& file : a.files) all = worse(all, judge(file, a));
  return all;
}
