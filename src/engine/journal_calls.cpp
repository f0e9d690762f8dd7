#include "engine/journal_calls.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "machine/check.hpp"
#include "machine/machine.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t batch_bytes = 8u << 20;
constexpr std::size_t max_waiting = 1'000;
}  // namespace

cursor journal_calls::at(std::string_view journal) const {
  const auto it = cursors_.find(journal);
  return it == cursors_.end() ? cursor{} : it->second;
}

void journal_calls::read_entries(const reading& r, std::uint64_t after, std::uint32_t max, replica& rep) {
  const auto id = ctx_.fresh_read();
  ctx_.emit(read{.id = id,
                 .in = disk::state_of(rep.group()),
                 .from = machine::entry_key(r.journal, after + 1),
                 .to = machine::entry_key(r.journal, ~0ull),
                 .max_items = std::clamp<std::uint32_t>(max, 1, 10'000),
                 .max_bytes = batch_bytes});
  reads_[id] = r;
}

void journal_calls::peek(call_id id, const wire::peek_journal& p, const wire::as_of& now, replica& rep) {
  if (auto ok = machine::check_journal(p.journal); !ok) return ctx_.reply(id, ok.error());
  read_entries({id, p.journal, false, now}, at(p.journal).id, p.max, rep);
}

void journal_calls::count(call_id id, const wire::count_journal& c, const wire::as_of& now, const replica& rep) {
  if (auto ok = machine::check_journal(c.journal); !ok) return ctx_.reply(id, ok.error());
  const auto& all = rep.machine().journals();
  const auto j = all.find(c.journal);
  const auto here = at(c.journal);
  wire::journal_counts n{0, 0, here.id, now};
  if (j != all.end()) {
    n.retained = j->second.count;
    n.count = std::min(j->second.count, j->second.total - std::min(here.ordinal, j->second.total));
  }
  ctx_.reply(id, n);
}

void journal_calls::begin(call_id id, const wire::begin_process& b, replica& rep) {
  if (auto ok = machine::check_journal(b.journal); !ok) return ctx_.reply(id, ok.error());
  if (b.max < 1 || b.max > 10'000) return ctx_.refuse(id, errc::limit, "a batch has 1 to 10000 entries");
  auto& q = queues_[b.journal];
  if (!q.now) return start(b.journal, id, b.max, rep);
  if (q.waiting.size() >= max_waiting)
    return ctx_.refuse(id, errc::limit, fmt::format("{} callers wait to process {}", max_waiting, b.journal));
  q.waiting.emplace_back(id, b.max);
}

std::optional<failure> journal_calls::gap(const std::string& journal, const machine::machine& m) {
  const auto it = cursors_.find(journal);
  const auto j = m.journals().find(journal);
  if (it == cursors_.end()) return std::nullopt;  // a new node begins at the oldest retained entry
  const auto& c = it->second;
  const std::uint64_t total = j == m.journals().end() ? 0 : j->second.total;
  const std::uint64_t last = j == m.journals().end() ? 0 : j->second.last;
  const std::uint64_t gone = j == m.journals().end() ? 0 : total - j->second.count;
  const std::uint64_t first = j != m.journals().end() && j->second.count > 0 ? j->second.first : last + 1;
  failure f{errc::retention_gap, "", c.id + 1, first};
  if (c.id > last) {
    f.message = fmt::format(
        "the cursor of {} stands at {} but the journal ends at {}: the cluster was restored from an older state",
        journal, c.id, last);
    save(journal, {last, total}, {});
    return f;
  }
  if (c.ordinal >= gone) return std::nullopt;
  f.message = fmt::format("{} entries of {} were removed by age before this node processed them; going on at {}",
                          gone - c.ordinal, journal, first);
  save(journal, {first - 1, gone}, {});
  return f;
}

void journal_calls::start(const std::string& journal, call_id id, std::uint32_t max, replica& rep) {
  if (auto f = gap(journal, rep.machine())) {
    ctx_.reply(id, std::move(*f));
    return next(journal, rep);
  }
  queues_[journal].now = turn{id, ++next_token_, max, {}};
  read_entries({id, journal, true}, at(journal).id, max, rep);
}

void journal_calls::next(const std::string& journal, replica& rep) {
  const auto it = queues_.find(journal);
  if (it == queues_.end()) return;
  it->second.now.reset();
  if (it->second.waiting.empty()) {
    queues_.erase(it);
    return;
  }
  const auto [call, max] = it->second.waiting.front();
  it->second.waiting.pop_front();
  start(journal, call, max, rep);
}

const std::string* journal_calls::read_by(read_id id) const {
  const auto it = reads_.find(id);
  return it == reads_.end() ? nullptr : &it->second.journal;
}

void journal_calls::on_read(const read_done& r, replica& rep) {
  const auto it = reads_.find(r.id);
  const auto what = it->second;
  reads_.erase(it);
  wire::entries list{{}, 0, what.as_of};
  for (const auto& [key, value] : r.items) {
    auto record = wire::decode_record(key, value);
    auto* e = record ? std::get_if<machine::journal_entry>(&*record) : nullptr;
    if (!e) {
      ctx_.log(log_level::error, fmt::format("an entry of {} does not decode: the disk is damaged", what.journal));
      ctx_.refuse(what.call, errc::closed, fmt::format("an entry of {} does not decode", what.journal));
      if (what.process) next(what.journal, rep);
      return;
    }
    list.list.push_back(std::move(*e));
  }
  if (!what.process) {
    ctx_.reply(what.call, std::move(list));
    return;
  }
  const auto q = queues_.find(what.journal);
  if (q == queues_.end() || !q->second.now || q->second.now->call != what.call) return;  // cancelled meanwhile
  if (list.list.empty()) {
    ctx_.reply(what.call, std::move(list));
    next(what.journal, rep);
    return;
  }
  auto& t = *q->second.now;
  for (const auto& e : list.list) t.batch.push_back({e.id, e.ordinal});
  list.token = t.token;
  ctx_.reply(what.call, std::move(list), false);
}

void journal_calls::end(call_id id, const wire::end_process& e, replica& rep) {
  const auto q = queues_.find(e.journal);
  if (q == queues_.end() || !q->second.now || q->second.now->token != e.token)
    return ctx_.refuse(id, errc::bad_argument,
                       fmt::format("no batch of {} with this token is being processed: begin again", e.journal));
  auto& t = *q->second.now;
  const auto here = at(e.journal);
  if (e.cursor == 0 || e.cursor == here.id) {
    ctx_.reply(t.call, wire::done{});
    ctx_.reply(id, wire::done{});
    return next(e.journal, rep);
  }
  const auto p = std::find_if(t.batch.begin(), t.batch.end(), [&](const auto& x) { return x.id == e.cursor; });
  if (p == t.batch.end()) {
    // An id outside the batch is an error: nothing moves, and the batch is over (docs/journals.md).
    ctx_.reply(t.call, wire::done{});
    ctx_.refuse(id, errc::bad_argument,
                fmt::format("{} is not an id of this batch ({} to {}): nothing was moved", e.cursor, t.batch.front().id,
                            t.batch.back().id));
    return next(e.journal, rep);
  }
  ctx_.reply(t.call, wire::done{});
  save(e.journal, {p->id, p->ordinal}, id, e.token);
}

void journal_calls::save(const std::string& journal, cursor c, call_id call, std::uint64_t token) {
  cursors_[journal] = c;
  disk::batch b{disk::put(disk::space::local, cursor_key(journal), cursor_value(c))};
  disk_.write(std::move(b), true, cursor_saved{call, journal, token});
}

void journal_calls::on_saved(const cursor_saved& s, replica& rep) {
  if (!s.call) return;
  ctx_.reply(s.call, wire::done{});
  const auto q = queues_.find(s.journal);
  if (q != queues_.end() && q->second.now && s.token && q->second.now->token == s.token) next(s.journal, rep);
}

void journal_calls::reset(call_id id, const std::string& journal, const replica& rep) {
  const auto j = rep.machine().journals().find(journal);
  if (j == rep.machine().journals().end()) return ctx_.reply(id, wire::done{});
  save(journal, {j->second.last, j->second.total}, id);
}

void journal_calls::watch(call_id id, const wire::watch_journal& w, const replica& rep) {
  if (auto ok = machine::check_journal(w.journal); !ok) return ctx_.reply(id, ok.error());
  watchers_[id] = w.journal;
  ctx_.reply(id, wire::done{}, false);
  const auto j = rep.machine().journals().find(w.journal);
  if (j != rep.machine().journals().end() && j->second.last > at(w.journal).id)
    ctx_.reply(id, wire::journal_ready{}, false);
}

void journal_calls::on_grew(const std::string& journal, std::uint64_t last) {
  for (const auto& [id, name] : watchers_)
    if (name == journal && last > at(journal).id) ctx_.reply(id, wire::journal_ready{}, false);
}

std::vector<std::string> journal_calls::cancel(call_id id) {
  watchers_.erase(id);
  std::vector<std::string> ended;
  for (auto& [name, q] : queues_) {
    std::erase_if(q.waiting, [&](const auto& w) { return w.first == id; });
    if (q.now && q.now->call == id) ended.push_back(name);
  }
  return ended;
}

}  // namespace coterie::engine
