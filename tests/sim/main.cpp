// The simulator: `sim` runs seeds; see usage() and docs/testing.md. Each seed draws its settings, faults and
// operations, runs them, heals, and must converge; each runs twice and must do the same both times.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "sim/matrix.hpp"
#include "sim/scenario.hpp"

namespace {

using namespace coterie;
using namespace coterie::sim;

struct arguments {
  std::optional<std::uint64_t> seeds;
  std::uint64_t first = 1;
  std::uint64_t repeat_every = 1;  // 0 = never
  run_options run;
  std::string schedule, seed_file, marks_file;
  bool shrink = false, print = false, progress = false, list_marks = false, matrix = false;

  /// In the matrix four of each cell.
  std::uint64_t count() const { return seeds.value_or(matrix ? 4 * matrix_cells : 200); }
  sim::schedule draw(std::uint64_t seed) const { return matrix ? generate_matrix(seed) : generate(seed); }
};

int usage() {
  fmt::print(stderr,
             "usage: sim [OPTIONS]\n"
             "  --matrix           the crash matrix: seeds are of its cells, in turn; ends with its table\n"
             "  --seeds N          that many seeds (200; in the matrix 360, four of each cell)\n"
             "  --first S          beginning with this one (1)\n"
             "  --seed S           this one alone\n"
             "  --seed-file FILE   the seeds at the beginning of its lines, first of all\n"
             "  --schedule FILE    what --print wrote, edited or not\n"
             "  --print            the schedule, instead of running it\n"
             "  --shrink           when it fails: the faults that are needed for it, as a schedule\n"
             "  --trace            what happens, on standard error\n"
             "  --once             not twice;  --repeat-every N: one in N\n"
             "  --progress         a line for each seed: what it covered\n"
             "  --list-marks       every counted branch that was taken, and how often\n"
             "  --marks FILE       every counted branch named there has to be taken\n"
             "  --bug NAME         plant it; 0 when it is found, and its schedule cut down to at most 20 faults:");
  for (std::size_t i = 1; i < planted_bug_names.size(); ++i) fmt::print(stderr, " {}", planted_bug_names[i]);
  fmt::print(stderr, "\n");
  return 2;
}

std::optional<planted_bug> bug_of(std::string_view name) {
  const auto it = std::find(planted_bug_names.begin(), planted_bug_names.end(), name);
  if (it == planted_bug_names.end()) return std::nullopt;
  return static_cast<planted_bug>(it - planted_bug_names.begin());
}

std::optional<arguments> parse(int argc, char** argv) {
  arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string_view o = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
    const auto number = [&](std::uint64_t& n) {
      const auto end = value ? value + std::strlen(value) : nullptr;
      ++i;
      return value && std::from_chars(value, end, n).ptr == end;
    };
    const auto text = [&](std::string& s) {
      if (value) s = value;
      ++i;
      return value != nullptr;
    };
    bool good = true;
    std::uint64_t one = 0;
    if (o == "--matrix") {
      a.matrix = true;
    } else if (o == "--trace") {
      a.run.trace = true;
    } else if (o == "--once") {
      a.repeat_every = 0;
    } else if (o == "--shrink") {
      a.shrink = true;
    } else if (o == "--print") {
      a.print = true;
    } else if (o == "--list-marks") {
      a.list_marks = true;
    } else if (o == "--progress") {
      a.progress = true;
    } else if (o == "--seeds") {
      good = number(one);
      a.seeds = one;
    } else if (o == "--first") {
      good = number(a.first);
    } else if (o == "--repeat-every") {
      good = number(a.repeat_every);
    } else if (o == "--seed") {
      a.seeds = 1;
      good = number(a.first);
    } else if (o == "--schedule") {
      good = text(a.schedule);
    } else if (o == "--seed-file") {
      good = text(a.seed_file);
    } else if (o == "--marks") {
      good = text(a.marks_file);
    } else if (o == "--bug") {
      std::string name;
      good = text(name) && bug_of(name);
      if (good) a.run.bug = *bug_of(name);
    } else {
      good = false;
    }
    if (!good) return std::nullopt;
  }
  return a;
}

std::string contents(const std::string& file) {
  std::ifstream in(file);
  if (!in) {
    fmt::print(stderr, "sim: {} can't be read\n", file);
    std::exit(2);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

// Each line up to its comment, if there is anything.
std::vector<std::string> lines_of(const std::string& file) {
  std::vector<std::string> r;
  std::istringstream lines(contents(file));
  for (std::string line; std::getline(lines, line);) {
    line.resize(std::min(line.find('#'), line.size()));
    line.resize(line.find_last_not_of(" \t") + 1);
    if (!line.empty()) r.push_back(line);
  }
  return r;
}

// A bug whose schedule can't be cut down to that is as good as not found: nobody can read it.
constexpr std::size_t max_needed = 20;

struct session {
  arguments args;
  report sum;
  matrix cells{};
  std::uint64_t seeds = 0, uncounted = 0, failed = 0;
  std::size_t needed = 0;  // faults, of the last schedule that was cut down

  /// False when nothing more has to be run.
  bool one(const schedule& s) {
    ++seeds;
    auto r = run(s, args.run);
    if (args.repeat_every && !args.run.trace && seeds % args.repeat_every == 0 && run(s, args.run).hash != r.hash)
      r.violations.push_back("two runs of this seed differ: something is not deterministic");
    sum.add(r);
    cells.add(s.seed, r);
    // A seed without a crash and a new leader shows nothing.
    if (r.crashes == 0 || r.leaders < 2) ++uncounted;
    if (args.progress)
      fmt::print("seed {} {} {:.3f} {} {} {} {}\n", s.seed, r.violations.empty() ? "ok" : "VIOLATION",
                 std::chrono::duration<double>(r.virtual_time).count(), r.operations, r.leaders, r.crashes,
                 r.partitions);
    if (args.progress) std::fflush(stdout);
    if (r.violations.empty()) return true;
    ++failed;
    const auto again = fmt::format("sim {}--seed {}", args.matrix ? "--matrix " : "", s.seed);
    fmt::print("seed {} failed (again: {} --trace; its needed faults: {} --shrink)\n", s.seed, again, again);
    for (const auto& v : r.violations) fmt::print("  {}\n", v);
    if (args.shrink || args.run.bug != planted_bug::none) {
      const auto small = shrink(s, args.run);
      needed = small.faults.size();
      fmt::print("# {} of {} faults are needed\n", small.faults.size(), s.faults.size());
      for (const auto& f : small.faults) fmt::print("{}\n", print(f));
    }
    std::fflush(stdout);
    return args.run.bug == planted_bug::none;  // a planted one is found
  }

  int verdict(double seconds) {
    fmt::print(
        "{:.1f} virtual hours in {:.1f} s ({:.0f} times as fast), {} operations ({} acknowledged, {} refused, {} "
        "unsure), "
        "{} terms with a leader, {} configurations, {} crashes, {} partitions, {} grants, {} job starts, {} journal "
        "entries, {} messages, {} steps; longest healing {:.1f} s\n",
        std::chrono::duration<double>(sum.virtual_time).count() / 3600, seconds,
        std::chrono::duration<double>(sum.virtual_time).count() / seconds, sum.operations, sum.acknowledged,
        sum.refused, sum.unsure, sum.leaders, sum.configurations, sum.crashes, sum.partitions, sum.grants, sum.starts,
        sum.entries, sum.messages, sum.steps, std::chrono::duration<double>(sum.healing).count());
    if (args.run.bug != planted_bug::none) {
      fmt::print("the planted bug was {}\n",
                 failed == 0
                     ? "not found"
                     : fmt::format("found; {} faults are needed for it, at most {} may be", needed, max_needed));
      return failed > 0 && needed <= max_needed ? 0 : 1;
    }
    if (args.list_marks)
      for (const auto& [name, count] : sum.marks) fmt::print("{} # {}\n", name, count);
    if (!args.marks_file.empty())
      for (const auto& name : lines_of(args.marks_file))
        if (!sum.marks.contains(name)) {
          fmt::print("no seed came to the branch counted as {}\n", name);
          ++failed;
        }
    if (args.matrix) {
      const auto gaps = cells.gaps();
      fmt::print("{}{}", cells.table(), gaps);
      failed += static_cast<std::uint64_t>(std::ranges::count(gaps, '\n'));
    }
    fmt::print("{} seeds, {} violations\n", seeds, failed);
    return failed == 0 ? 0 : 1;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const auto a = parse(argc, argv);
  if (!a) return usage();
  const auto begun = std::chrono::steady_clock::now();
  session s{*a, {}};
  std::vector<std::uint64_t> numbers;
  if (!a->seed_file.empty())
    for (const auto& word : lines_of(a->seed_file)) numbers.push_back(std::stoull(word));
  if (a->schedule.empty())
    for (auto n = a->first; n < a->first + a->count(); ++n) numbers.push_back(n);
  if (a->print) {
    for (const auto n : numbers) fmt::print("{}", print(a->draw(n)));
    return 0;
  }
  bool more = true;
  if (!a->schedule.empty()) {
    const auto read = sim::parse(contents(a->schedule));
    if (!read) {
      fmt::print(stderr, "sim: {}: {}\n", a->schedule, read.error().message);
      return 2;
    }
    more = s.one(*read);
  }
  for (std::size_t i = 0; more && i < numbers.size(); ++i) more = s.one(a->draw(numbers[i]));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  return s.verdict(took.count());
}
