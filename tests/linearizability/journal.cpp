#include "linearizability/journal.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

namespace coterie::linearizability {

namespace {

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t nobody = std::numeric_limits<std::size_t>::max();

struct append_record {
  std::size_t place = 0;
  std::size_t messages = 0;
  std::uint64_t first = 0;       // 0 = it is not known to have taken effect
  std::size_t seen_by = nobody;  // the read that told the ids, when the append did not
  std::int64_t call = 0, returned = never;
  std::uint64_t last() const { return first + messages - 1; }
};

struct read_record {
  std::size_t place = 0;
  std::uint64_t after = 0, max = 0;
  std::vector<std::pair<std::uint64_t, std::string>> entries;
  bool end = false;
  std::int64_t call = 0, returned = never;
  std::uint64_t last() const { return entries.empty() ? after : entries.back().first; }
};

// Throws malformed, and a journal_verdict as soon as there is a contradiction.
class journal_check {
 public:
  explicit journal_check(const operation_list& operations) : operations_(operations) {}

  void run() {
    for (std::size_t i = 0; i < operations_.size(); ++i) parse(i);
    for (const auto& r : reads_) resolve(r);
    order();
    for (const auto& r : reads_) nothing_missing(r);
    time();
  }

 private:
  [[noreturn]] void contradict(std::vector<std::size_t> involved, std::string why) const {
    std::sort(involved.begin(), involved.end());
    involved.erase(std::unique(involved.begin(), involved.end()), involved.end());
    throw journal_verdict{std::move(involved), std::move(why)};
  }

  std::string name(std::size_t place) const {
    const operation& o = *operations_[place];
    return text_of(o) + " by process " + std::to_string(o.process);
  }

  // Parsing ---

  static std::uint64_t id_of(std::size_t place, const value& v, const char* what) {
    if (const auto n = natural(v)) return *n;
    throw malformed{place, std::string(what) + " is not a number from 0"};
  }

  void parse(std::size_t place) {
    const operation& o = *operations_[place];
    if (o.name == "append") {
      parse_append(place, o);
    } else if (o.name == "read") {
      if (o.output && o.returned) parse_read(place, o);
    } else {
      throw malformed{place, "a journal has no \"" + o.name + '"'};
    }
  }

  void parse_append(std::size_t place, const operation& o) {
    if (!o.input.is_array() || o.input.empty()) throw malformed{place, "the input of append is not a list of messages"};
    append_record a;
    a.place = place;
    a.messages = o.input.size();
    a.call = o.call;
    if (o.output) {
      if (!o.output->is_array() || o.output->size() != a.messages)
        throw malformed{place, "the output of append is not a list of as many ids"};
      a.first = id_of(place, o.output->front(), "an id");
      if (a.first == 0) throw malformed{place, "an id is 0"};
      if (o.returned) a.returned = *o.returned;
      for (std::size_t j = 0; j < a.messages; ++j)
        if (id_of(place, (*o.output)[j], "an id") != a.first + j)
          contradict({place}, name(place) + ": the ids of one append are consecutive.");
    }
    for (std::size_t j = 0; j < a.messages; ++j) {
      if (!o.input[j].is_string()) throw malformed{place, "a message is not a string"};
      if (!messages_.emplace(o.input[j].get<std::string>(), std::pair(appends_.size(), j)).second)
        throw malformed{place, "message " + text_of(o.input[j]) + " was appended before: messages must differ"};
    }
    appends_.push_back(a);
  }

  void parse_read(std::size_t place, const operation& o) {
    read_record r;
    r.place = place;
    r.call = o.call;
    r.returned = *o.returned;
    if (!o.input.is_object() || !o.input.contains("after"))
      throw malformed{place, "the input of read has no \"after\""};
    r.after = id_of(place, o.input["after"], "\"after\"");
    r.max =
        o.input.contains("max") ? id_of(place, o.input["max"], "\"max\"") : std::numeric_limits<std::uint64_t>::max();
    if (!o.output->is_object() || !o.output->contains("entries") || !(*o.output)["entries"].is_array())
      throw malformed{place, "the output of read has no list of \"entries\""};
    if (const auto end = o.output->find("end"); end != o.output->end()) {
      if (!end->is_boolean()) throw malformed{place, "\"end\" is neither true nor false"};
      r.end = end->get<bool>();
    }
    for (const auto& e : (*o.output)["entries"]) {
      if (!e.is_array() || e.size() != 2 || !e[1].is_string()) throw malformed{place, "an entry is not [id, message]"};
      r.entries.emplace_back(id_of(place, e[0], "an id"), e[1].get<std::string>());
    }
    reads_.push_back(std::move(r));
  }

  // What took effect, in which order (1 to 3) ---

  void resolve(const read_record& r) {
    if (r.entries.size() > r.max) contradict({r.place}, name(r.place) + " returned more entries than it asked for.");
    std::uint64_t before = r.after;
    for (const auto& [id, message] : r.entries) {
      const std::string entry = "entry " + std::to_string(id) + ' ' + text_of(value(message));
      if (id <= before)
        contradict({r.place},
                   name(r.place) + ": the id of " + entry + " is not greater than " + std::to_string(before) + '.');
      before = id;
      const auto found = messages_.find(message);
      if (found == messages_.end()) contradict({r.place}, name(r.place) + " saw " + entry + ", which nobody appended.");
      const auto [which, offset] = found->second;
      append_record& a = appends_[which];
      if (a.first == 0 && id > offset) {
        a.first = id - offset;
        a.seen_by = r.place;
      } else if (a.first == 0 || a.first + offset != id) {
        std::vector<std::size_t> involved{a.place, r.place};
        std::string why = name(r.place) + " saw " + entry;
        if (a.first == 0) {
          why += ", but " + name(a.place) + " has messages before it, and ids begin at 1.";
        } else if (a.seen_by != nobody) {
          involved.push_back(a.seen_by);
          why += ", but " + name(a.seen_by) + " saw that append at another id.";
        } else {
          why += ", but " + name(a.place) + " put it elsewhere.";
        }
        contradict(std::move(involved), std::move(why));
      }
    }
  }

  void order() {
    std::erase_if(appends_, [](const append_record& a) { return a.first == 0; });
    std::sort(appends_.begin(), appends_.end(),
              [](const append_record& a, const append_record& b) { return a.first < b.first; });
    for (std::size_t i = 0; i + 1 < appends_.size(); ++i)
      if (appends_[i].last() >= appends_[i + 1].first)
        contradict(with_witness({}, {i, i + 1}), "Id " + std::to_string(appends_[i + 1].first) +
                                                     " was given twice: " + name(appends_[i].place) + ", " +
                                                     name(appends_[i + 1].place) + '.');
    count_before_.push_back(0);
    for (const auto& a : appends_) count_before_.push_back(count_before_.back() + a.messages);
  }

  // Adds appends, by their order, and the reads that tell their ids.
  std::vector<std::size_t> with_witness(std::vector<std::size_t> involved,
                                        std::initializer_list<std::size_t> which) const {
    for (const auto i : which) {
      involved.push_back(appends_[i].place);
      if (appends_[i].seen_by != nobody) involved.push_back(appends_[i].seen_by);
    }
    return involved;
  }

  // The first append whose last id is greater.
  std::size_t first_after(std::uint64_t id) const {
    return static_cast<std::size_t>(
        std::partition_point(appends_.begin(), appends_.end(), [&](const append_record& a) { return a.last() <= id; }) -
        appends_.begin());
  }

  // How many ids are not greater.
  std::uint64_t count_to(std::uint64_t id) const {
    const auto i = first_after(id);
    const bool inside = i < appends_.size() && appends_[i].first <= id;
    return count_before_[i] + (inside ? id - appends_[i].first + 1 : 0);
  }

  void nothing_missing(const read_record& r) const {
    if (r.entries.empty()) return;
    // each entry is one of ours, and their ids rise: as many means the same
    if (count_to(r.last()) - count_to(r.after) != r.entries.size()) {
      std::uint64_t before = r.after;
      for (const auto& [id, message] : r.entries) {
        const auto i = first_after(before);
        if (const auto expected = std::max(appends_[i].first, before + 1); expected != id)
          contradict(with_witness({r.place}, {i, first_after(id - 1)}),
                     name(r.place) + " saw entry " + std::to_string(id) + " but not entry " + std::to_string(expected) +
                         ", which comes before it: " + name(appends_[i].place) + '.');
        before = id;
      }
    }
    const auto i = first_after(r.last());
    if (r.end && i < appends_.size() && appends_[i].first <= r.last())
      contradict(with_witness({r.place}, {i}), name(r.place) + " saw the end in the midst of " +
                                                   name(appends_[i].place) + ", all of which took effect at once.");
  }

  // When it took effect (4) ---

  void time() const {
    struct bound {
      std::int64_t at;
      std::size_t from;  // the operation that it comes from
      std::size_t append;
    };
    std::vector<std::pair<std::int64_t, std::size_t>> earliest(appends_.size(),
                                                               {std::numeric_limits<std::int64_t>::min(), nobody});
    std::vector<std::pair<std::int64_t, std::size_t>> latest(appends_.size(), {never, nobody});
    for (std::size_t i = 0; i < appends_.size(); ++i) {
      earliest[i] = {appends_[i].call, appends_[i].place};
      latest[i] = {appends_[i].returned, appends_[i].place};
    }
    for (const auto& r : reads_) {
      const auto next = first_after(r.last());
      if (r.end && next < appends_.size()) earliest[next] = std::max(earliest[next], {r.call, r.place});
      if (r.entries.empty()) continue;
      const auto seen = first_after(r.last() - 1);
      latest[seen] = std::min(latest[seen], {r.returned, r.place});
    }
    bound b{std::numeric_limits<std::int64_t>::min(), nobody, nobody};
    for (std::size_t i = 0; i < appends_.size(); ++i) {
      if (earliest[i].first > b.at) b = {earliest[i].first, earliest[i].second, i};
      if (b.at > latest[i].first) too_late(b.from, b.append, latest[i].second, i);
    }
  }

  // Append `from` can't take effect before operation `lower` is called, though append `to`, which is not before it,
  // took effect before operation `upper` returned, which is earlier.
  [[noreturn]] void too_late(std::size_t lower, std::size_t from, std::size_t upper, std::size_t to) const {
    const append_record &a = appends_[from], &b = appends_[to];
    std::string why = "The journal's order is that of ids. ";
    if (lower == a.place) {
      why += name(a.place) + " took effect after its call, at " + std::to_string(operations_[lower]->call);
    } else {
      why += name(lower) + " saw the end before entry " + std::to_string(a.first) +
             ", which so came after that read's call at " + std::to_string(operations_[lower]->call);
    }
    why += from == to ? "; but " : "; it comes before entry " + std::to_string(b.first) + ", but ";
    if (upper == b.place) {
      why += name(b.place) + " had returned by " + std::to_string(b.returned) + '.';
    } else {
      why += name(upper) + " had returned by " + std::to_string(*operations_[upper]->returned) + " and saw it.";
    }
    contradict(with_witness({lower, upper}, {from, to}), std::move(why));
  }

  const operation_list& operations_;
  std::vector<append_record> appends_;  // from order() on: those that took effect, by id
  std::vector<read_record> reads_;
  std::unordered_map<std::string, std::pair<std::size_t, std::size_t>> messages_;  // append, place in its batch
  std::vector<std::uint64_t> count_before_;                                        // ids of the appends before each
};

}  // namespace

tl::expected<journal_verdict, malformed> check_journal(const operation_list& operations) {
  try {
    journal_check(operations).run();
  } catch (const journal_verdict& contradiction) {
    return contradiction;
  } catch (const malformed& m) {
    return tl::unexpected(m);
  }
  return journal_verdict{};
}

}  // namespace coterie::linearizability
