// Appends and trims applied. Never reads an entry back: entries go out as writes.
#include "machine/journals.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace coterie::machine {
namespace {

// All entries of an age class were created in one window of this width.
milliseconds bucket_width(milliseconds keep, const limits& max) {
  const auto parts = [&](std::size_t n) { return keep / static_cast<milliseconds::rep>(std::max<std::size_t>(n, 1)); };
  const auto wanted = std::min(parts(max.retention_buckets), milliseconds(30'000));
  return std::max({wanted, parts(max.retention_buckets_max), milliseconds(1)});
}

std::int64_t window_of(wall_time t, milliseconds width) { return t.time_since_epoch() / width; }

wall_time expiry(wall_time newest, milliseconds keep) { return newest + keep + milliseconds(1); }

}  // namespace

void journal_table::link(const journal_record& j, const detail& d) {
  if (!d.buckets.empty())
    by_expiry_.emplace(expiry(d.buckets.begin()->second.newest, j.keep), journals_.find(j.name)->first);
}

void journal_table::unlink(const journal_record& j, const detail& d) {
  if (!d.buckets.empty()) by_expiry_.erase({expiry(d.buckets.begin()->second.newest, j.keep), j.name});
}

journal_record* journal_table::find_or_create(turn& t, const std::string& name) {
  const auto it = journals_.find(name);
  if (it != journals_.end()) return &it->second;
  if (journals_.size() >= t.max.journals) return nullptr;
  auto& j = journals_.emplace(name, journal_record{}).first->second;
  j.name = name;
  j.keep = t.max.journal_keep;
  details_.emplace(name, detail{});
  return &j;
}

answer journal_table::append(turn& t, const journal_append& c, std::uint64_t& last_id) {
  if (!c.key.empty()) {
    const auto d = details_.find(c.journal);
    if (d != details_.end())
      if (const auto known = d->second.keys.find(c.key); known != d->second.keys.end())
        return done(known->second.first, known->second.last);
  }
  auto* j = find_or_create(t, c.journal);
  if (j == nullptr)
    return refuse(errc::limit, fmt::format("the cluster has {} journals: use an existing one", journals_.size()));
  auto& d = details_.find(c.journal)->second;
  const auto created = std::max(t.stamp, j->last_created);
  const auto first = last_id + 1;
  for (const auto& item : c.items)
    t.data.emplace_back(put{journal_entry{c.journal, ++last_id, ++j->total, created, item.type, item.message}});
  unlink(*j, d);
  if (j->count == 0) j->first = first;
  j->last = last_id;
  j->count += c.items.size();
  j->last_created = created;
  add_to_bucket(t, *j, d, first, last_id, created);
  link(*j, d);
  if (!c.key.empty()) remember_key(t, c.journal, d, c.key, {first, last_id});
  changed_.mark(c.journal);
  t.happened.emplace_back(journal_grew{c.journal, last_id});
  return done(first, last_id);
}

void journal_table::add_to_bucket(turn& t, const journal_record& j, detail& d, std::uint64_t first, std::uint64_t last,
                                  wall_time created) {
  auto it = d.buckets.end();
  if (!d.buckets.empty()) {
    const auto newest = std::prev(it);
    const auto width = bucket_width(j.keep, t.max);
    if (window_of(newest->second.newest, width) == window_of(created, width) || buckets_ >= t.max.buckets) it = newest;
  }
  if (it == d.buckets.end()) {
    it = d.buckets.emplace_hint(it, first, age_class{});
    ++buckets_;
  }
  it->second.last = last;
  it->second.count += last - first + 1;
  it->second.newest = created;
  changed_buckets_.mark(std::pair(j.name, it->first));
}

void journal_table::remember_key(turn& t, const std::string& journal, detail& d, const std::string& key, id_range ids) {
  const auto it = d.keys.emplace(key, ids).first;
  d.keys_by_age.emplace(ids.first, it->first);
  changed_keys_.mark(std::pair(journal, key));
  if (d.keys.size() > t.max.keys_per_journal) forget_oldest_key(journal, d);
}

void journal_table::forget_oldest_key(const std::string& journal, detail& d) {
  const auto oldest = d.keys_by_age.begin();
  changed_keys_.mark(std::pair(journal, std::string(oldest->second)));
  d.keys.erase(d.keys.find(oldest->second));
  d.keys_by_age.erase(oldest);
}

answer journal_table::trim(turn& t, const journal_trim& c) {
  const auto it = journals_.find(c.journal);
  if (it == journals_.end()) return refuse(errc::not_found, fmt::format("there is no journal '{}'", c.journal));
  auto& j = it->second;
  auto& d = details_.find(c.journal)->second;
  const auto removable = [&](const age_class& b) { return b.last <= c.upto && expiry(b.newest, j.keep) <= t.stamp; };
  if (d.buckets.empty() || !removable(d.buckets.begin()->second)) return done(j.trimmed);
  unlink(j, d);
  while (!d.buckets.empty() && removable(d.buckets.begin()->second)) {
    const auto oldest = d.buckets.begin();
    j.trimmed = oldest->second.last;
    j.count -= oldest->second.count;
    changed_buckets_.mark(std::pair(j.name, oldest->first));
    d.buckets.erase(oldest);
    --buckets_;
  }
  link(j, d);
  t.data.emplace_back(erase_range{entry_key(j.name, j.first), entry_key(j.name, j.trimmed + 1)});
  j.first = d.buckets.empty() ? 0 : d.buckets.begin()->first;
  while (!d.keys_by_age.empty() && d.keys_by_age.begin()->first <= j.trimmed) forget_oldest_key(j.name, d);
  changed_.mark(j.name);
  t.happened.emplace_back(journal_trimmed{j.name, j.count == 0 ? j.last + 1 : j.first});
  return done(j.trimmed);
}

answer journal_table::retain(turn& t, const journal_retention& c) {
  auto* j = find_or_create(t, c.journal);
  if (j == nullptr)
    return refuse(errc::limit, fmt::format("the cluster has {} journals: use an existing one", journals_.size()));
  const auto& d = details_.find(c.journal)->second;
  unlink(*j, d);
  j->keep = c.keep;
  link(*j, d);
  changed_.mark(c.journal);
  return done();
}

std::vector<journal_trim> journal_table::trims_due(wall_time now, std::size_t max) const {
  std::vector<journal_trim> out;
  for (const auto& [due, name] : by_expiry_) {
    if (due > now || out.size() >= max) break;
    const auto keep = journals_.find(name)->second.keep;
    journal_trim trim{std::string(name)};
    for (const auto& [first, bucket] : details_.find(name)->second.buckets) {
      if (expiry(bucket.newest, keep) > now) break;
      trim.upto = bucket.last;
    }
    out.push_back(std::move(trim));
  }
  return out;
}

std::optional<wall_time> journal_table::next_trim(wall_time now) const {
  const auto it = by_expiry_.lower_bound({now + milliseconds(1), {}});
  return it == by_expiry_.end() ? std::nullopt : std::optional(it->first);
}

// ---- storage -------------------------------------------------------------------------------------------------------

void journal_table::restore(const journal_record& r) { journals_.insert_or_assign(r.name, r); }

void journal_table::restore(const journal_bucket& r) {
  details_[r.journal].buckets[r.first] = {r.last, r.count, r.newest};
}

void journal_table::restore(const journal_key& r) { details_[r.journal].keys[r.key] = {r.first, r.last}; }

void journal_table::restored() {
  for (auto it = details_.begin();
       it != details_.end();)  // parts without their journal were not written by this machine
    it = journals_.contains(it->first) ? std::next(it) : details_.erase(it);
  for (const auto& [name, j] : journals_) {
    auto& d = details_[name];
    buckets_ += d.buckets.size();
    for (const auto& [key, ids] : d.keys) d.keys_by_age.emplace(ids.first, key);
    link(j, d);
  }
}

void journal_table::collect(std::vector<write>& out) {
  changed_buckets_.drain([&](const std::pair<std::string, std::uint64_t>& key) {
    journal_bucket r{key.first, key.second, 0, 0, {}};
    const auto& buckets = details_.find(key.first)->second.buckets;
    const auto it = buckets.find(key.second);
    if (it == buckets.end()) return void(out.emplace_back(erase{key_of(r)}));
    r.last = it->second.last;
    r.count = it->second.count;
    r.newest = it->second.newest;
    out.emplace_back(put{std::move(r)});
  });
  changed_.drain([&](const std::string& name) { out.emplace_back(put{journals_.find(name)->second}); });
  changed_keys_.drain([&](const std::pair<std::string, std::string>& key) {
    journal_key r{key.first, key.second, 0, 0};
    const auto& keys = details_.find(key.first)->second.keys;
    const auto it = keys.find(key.second);
    if (it == keys.end()) return void(out.emplace_back(erase{key_of(r)}));
    r.first = it->second.first;
    r.last = it->second.last;
    out.emplace_back(put{std::move(r)});
  });
}

void journal_table::add_to(digest_builder& d) const {
  for (const auto& [name, j] : journals_) d.add(j);
  for (const auto& [name, parts] : details_) {
    for (const auto& [first, b] : parts.buckets) d.add(journal_bucket{name, first, b.last, b.count, b.newest});
    for (const auto& [key, ids] : parts.keys) d.add(journal_key{name, key, ids.first, ids.last});
  }
}

}  // namespace coterie::machine
