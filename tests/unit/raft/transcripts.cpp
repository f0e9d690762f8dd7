// Transcripts: a few cores, told step by step what happens, and everything that they say written down beside it, to be
// read and compared (docs/testing.md 1). `raft_transcripts FILE...` says where a file is not what happens; with
// --rewrite it writes what happens into the files, for a person to read the difference.
//
// A file is blocks of one command, a line `----`, and what it gives, up to an empty line. Commands:
//   nodes N [learners=A,B]     N voters and these learners, all up
//   campaign N                 the time of its next election comes
//   tick N MS                  so much time passes, then N looks at its timers
//   propose N TEXT             N appends a command
//   conf N voters=A,B [learners=C]
//   lease N MS                 N proposes read leases of that length, 0 for none
//   transfer N TO              N hands leadership over
//   read N ID                  a linearizable read, by that number
//   deliver [A->B] [COUNT]     messages of that link, oldest first; without a link and a count all that wait now
//   drop [A->B]                the messages that wait are lost
//   settle                     everything is delivered until all is quiet
//   hold N, release N          writes of N stay unfinished, are finished
//   crash N, restart N, cut A B, isolate N, heal, compact N INDEX
//   log N, status              what there is
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "unit/raft/cluster.hpp"

namespace coterie::raft::test {
namespace {

std::string list(const std::vector<node_id>& ids) {
  std::string r;
  for (const auto i : ids) r += fmt::format("{}{}", r.empty() ? "" : ",", i.lo);
  return r;
}

std::string show(const configuration& c) {
  return fmt::format("voters {}{}{}{}", list(c.voters), c.joint() ? " and " + list(c.outgoing) : "",
                     c.learners.empty() ? "" : ", learners " + list(c.learners),
                     c.read_lease.count() == 0 ? "" : fmt::format(", leases of {} ms", c.read_lease.count()));
}

std::string show(const entry& e) {
  switch (e.kind) {
    case entry_kind::noop:
      return fmt::format("{}/{} noop", e.when, e.index);
    case entry_kind::command:
      return fmt::format("{}/{} \"{}\"", e.when, e.index, as_text(e.payload.view()));
    case entry_kind::configuration:
      break;
  }
  return fmt::format("{}/{} {}", e.when, e.index, show(e.conf));
}

std::string show(const message& m) {
  const auto what = std::visit(
      overloaded{
          [](const vote_request& v) {
            return fmt::format("{}vote for me? my log ends at {}/{}{}", v.pre ? "pre" : "", v.last_term, v.last_index,
                               v.transfer ? ", by order" : "");
          },
          [](const vote_response& v) {
            return fmt::format("{}vote {}", v.pre ? "pre" : "", v.granted ? "given" : "refused");
          },
          [](const append_request& a) {
            std::string entries;
            for (const auto& e : a.entries) entries += " [" + show(e) + "]";
            return fmt::format("{} behind {}/{}, commit {}{}{}",
                               !a.entries.empty() ? "append"
                               : a.quiet          ? "news"
                                                  : "heartbeat",
                               a.prev_term, a.prev_index, a.commit, a.round ? fmt::format(", round {}", a.round) : "",
                               entries);
          },
          [](const append_response& a) {
            return a.ok ? fmt::format("have all up to {}{}", a.match, a.round ? fmt::format(", round {}", a.round) : "")
                        : fmt::format("nothing at {}: try {}/{}", a.match, a.hint_term, a.hint);
          },
          [](const snapshot_request& s) {
            return fmt::format("snapshot up to {}/{}, {}", s.meta.when, s.meta.index, show(s.meta.conf));
          },
          [](const timeout_now& o) {
            return "take over now" + (o.unleased ? fmt::format(", no lease up to {}", o.unleased) : "");
          },
          [](const read_request&) { return std::string("where may I read?"); },
          [](const read_response& r) { return r.ok ? fmt::format("read at {}", r.index) : std::string("don't read"); },
      },
      m.body);
  return fmt::format("{}->{} t{} {}", m.from.lo, m.to.lo, m.when, what);
}

const char* show(role r) {
  switch (r) {
    case role::follower:
      return "follower";
    case role::pre_candidate:
      return "pre-candidate";
    case role::candidate:
      return "candidate";
    case role::leader:
      break;
  }
  return "leader";
}

class play {
 public:
  /// What the command gives; nullopt when it can't be read.
  std::optional<std::string> run(const std::string& line) {
    std::istringstream in(line);
    std::string name;
    in >> name;
    words_.assign(std::istream_iterator<std::string>(in), {});
    const auto it = commands_.find(name);
    if (it == commands_.end() || words_.size() < it->second.words) return std::nullopt;
    const auto waiting = cluster_.network.size();
    out_.clear();
    const auto before = states();
    it->second.action();
    if (name != "deliver" && name != "settle") say_from(waiting);
    for (const auto& [n, s] : states())
      if (const auto b = before.find(n); b == before.end() || b->second != s) out_ += fmt::format("{}: {}\n", n, s);
    for (const auto& v : std::exchange(cluster_.violations, {})) out_ += "VIOLATION " + v + "\n";
    return out_.empty() ? "nothing\n" : out_;
  }

 private:
  struct command {
    std::size_t words;
    std::function<void()> action;
  };

  std::uint64_t number(std::size_t i) const { return std::strtoull(words_[i].c_str(), nullptr, 10); }
  std::vector<node_id> named(const std::string& key) const {
    std::vector<node_id> r;
    for (const auto& w : words_)
      if (w.starts_with(key + "=")) {
        std::istringstream in(w.substr(key.size() + 1));
        for (std::string n; std::getline(in, n, ',');) r.push_back(id(std::strtoull(n.c_str(), nullptr, 10)));
      }
    return r;
  }
  void say_from(std::size_t first) {
    for (auto i = std::min(first, cluster_.network.size()); i < cluster_.network.size(); ++i)
      out_ += "  " + show(cluster_.network[i]) + "\n";
  }
  std::map<std::uint64_t, std::string> states() {
    std::map<std::uint64_t, std::string> r;
    for (std::uint64_t n = 1; n <= nodes_; ++n) {
      if (!cluster_.up(n)) {
        r[n] = "down";
        continue;
      }
      const auto& c = cluster_[n];
      r[n] = fmt::format("{} in term {}{}, commit {} of {}{}", show(c.current_role()), c.current_term(),
                         c.leader() && c.current_role() != role::leader ? fmt::format(" behind {}", c.leader().lo) : "",
                         c.commit(), c.last_index(), shown_conf_[n] == show(c.conf()) ? "" : ", " + show(c.conf()));
      for (const auto& s : cluster_.at(n).reads)
        r[n] += fmt::format(", read {} {}", s.id, s.ok ? fmt::format("at {}", s.index) : "failed");
    }
    return r;
  }

  // Those that wait now, of one link or of all; each with what it makes its receiver say.
  void deliver(bool lose) {
    std::uint64_t from = 0, to = 0;
    auto count = cluster_.network.size();
    for (const auto& w : words_) {
      if (const auto arrow = w.find("->"); arrow != w.npos) {
        from = std::strtoull(w.c_str(), nullptr, 10);
        to = std::strtoull(w.c_str() + arrow + 2, nullptr, 10);
      } else {
        count = std::strtoull(w.c_str(), nullptr, 10);
      }
    }
    std::size_t end = cluster_.network.size();
    for (std::size_t i = 0; i < end && count > 0;) {
      const auto m = cluster_.network[i];
      if (from && (m.from != id(from) || m.to != id(to))) {
        ++i;
        continue;
      }
      --count;
      --end;
      if (lose) {
        cluster_.lose(m);
        cluster_.network.erase(cluster_.network.begin() + static_cast<std::ptrdiff_t>(i));
        out_ += fmt::format("lost {}\n", show(m));
        continue;
      }
      out_ += show(m) + "\n";
      const auto waiting = cluster_.network.size() - 1;
      cluster_.deliver(i);
      say_from(waiting);
    }
  }

  const std::map<std::string, command> commands_ = {
      {"nodes",
       {1,
        [this] {
          configuration c;
          const auto learners = named("learners");
          for (std::uint64_t n = 1; n <= number(0); ++n) c.voters.push_back(id(n));
          c.learners = learners;
          nodes_ = number(0) + learners.size();
          for (std::uint64_t n = 1; n <= nodes_; ++n) {
            cluster_.add(n, c);
            shown_conf_[n] = show(c);
          }
        }}},
      {"campaign",
       {1,
        [this] {
          const auto wait = cluster_[number(0)].next_wake() - cluster_.now();
          if (wait > duration::zero()) cluster_.skip(wait);
          cluster_.tick(number(0));
        }}},
      {"tick",
       {2,
        [this] {
          cluster_.skip(std::chrono::milliseconds(number(1)));
          cluster_.tick(number(0));
        }}},
      {"propose",
       {2,
        [this] {
          if (auto ok = cluster_.propose(number(0), words_[1]); !ok) out_ += "refused: " + ok.error().message + "\n";
          cluster_.pump(number(0));
        }}},
      {"conf",
       {2,
        [this] {
          auto ok = cluster_[number(0)].propose_configuration(named("voters"), named("learners"), cluster_.now());
          if (!ok) out_ += "refused: " + ok.error().message + "\n";
          cluster_.pump(number(0));
        }}},
      {"lease",
       {2,
        [this] {
          auto ok = cluster_[number(0)].propose_read_lease(std::chrono::milliseconds(number(1)), cluster_.now());
          if (!ok) out_ += "refused: " + ok.error().message + "\n";
          cluster_.pump(number(0));
        }}},
      {"transfer",
       {2,
        [this] {
          auto ok = cluster_[number(0)].transfer_leadership(id(number(1)), cluster_.now());
          if (!ok) out_ += "refused: " + ok.error().message + "\n";
          cluster_.pump(number(0));
        }}},
      {"read",
       {2,
        [this] {
          cluster_.read(number(0), number(1));
          cluster_.pump(number(0));
        }}},
      {"deliver", {0, [this] { deliver(false); }}},
      {"drop", {0, [this] { deliver(true); }}},
      {"settle",
       {0,
        [this] {
          while (!cluster_.network.empty()) {
            const auto m = cluster_.network.front();
            out_ += show(m) + "\n";
            cluster_.deliver(0);
          }
        }}},
      {"hold", {1, [this] { cluster_.at(number(0)).hold_writes = true; }}},
      {"release",
       {1,
        [this] {
          cluster_.at(number(0)).hold_writes = false;
          cluster_.pump(number(0));
        }}},
      {"crash", {1, [this] { cluster_.crash(number(0)); }}},
      {"restart", {1, [this] { cluster_.restart(number(0)); }}},
      {"cut", {2, [this] { cluster_.cut(number(0), number(1)); }}},
      {"isolate", {1, [this] { cluster_.isolate(number(0)); }}},
      {"heal", {0, [this] { cluster_.heal(); }}},
      {"compact", {2, [this] { cluster_.compact(number(0), number(1)); }}},
      {"log",
       {1,
        [this] {
          const auto& c = cluster_[number(0)];
          out_ += fmt::format("begins at {}\n", c.first_index());
          for (auto i = c.first_index(); i <= c.last_index(); ++i) out_ += show(*c.entry_at(i)) + "\n";
        }}},
      {"status",
       {0,
        [this] {
          for (const auto& [n, s] : states()) out_ += fmt::format("{}: {}\n", n, s);
        }}},
  };
  cluster cluster_;
  std::uint64_t nodes_ = 0;
  std::map<std::uint64_t, std::string> shown_conf_;
  std::vector<std::string> words_;
  std::string out_;
};

/// The file as it should be; says where it differs.
std::optional<std::string> check(const std::string& file, int& wrong) {
  std::ifstream in(file);
  if (!in) {
    fmt::print(stderr, "{} can't be read\n", file);
    return std::nullopt;
  }
  play p;
  std::string whole;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    whole += line + "\n";
    if (line.empty() || line.starts_with('#')) continue;
    const auto at = number;
    const auto gives = p.run(line);
    if (!gives) {
      fmt::print(stderr, "{}:{}: '{}' is no command: see the head of transcripts.cpp\n", file, at, line);
      return std::nullopt;
    }
    std::string said, expected;
    if (std::getline(in, said)) ++number;
    while (std::getline(in, said) && !said.empty()) {
      ++number;
      expected += said + "\n";
    }
    ++number;
    whole += "----\n" + *gives + "\n";
    if (expected == *gives) continue;
    ++wrong;
    fmt::print("{}:{}: {}\nexpected:\n{}but this happens:\n{}\n", file, at, line, expected, *gives);
  }
  return whole;
}

}  // namespace
}  // namespace coterie::raft::test

int main(int argc, char** argv) {
  const bool rewrite = argc > 1 && std::string_view(argv[1]) == "--rewrite";
  int wrong = 0, files = 0;
  for (int i = rewrite ? 2 : 1; i < argc; ++i, ++files) {
    const auto whole = coterie::raft::test::check(argv[i], wrong);
    if (!whole) return 2;
    if (rewrite) std::ofstream(argv[i]) << *whole;
  }
  fmt::print("{} transcripts, {} differences{}\n", files, wrong, rewrite && wrong > 0 ? ", written" : "");
  return files > 0 && (wrong == 0 || rewrite) ? 0 : 1;
}
