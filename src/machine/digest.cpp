// The fields of each record in a fixed order; a new field of a record must be added here.
#include "machine/digest.hpp"

#include <bit>

#include "base/hash.hpp"

namespace coterie::machine {

void digest_builder::number(std::uint64_t v) {
  if (buffer_.size() >= 4'096) fold();
  for (int i = 0; i < 8; ++i) buffer_.push_back(static_cast<std::byte>(v >> (8 * i)));
}

void digest_builder::fold() {
  hash_ = hash64(buffer_, hash_);
  buffer_.clear();
}

std::uint64_t digest_builder::value() {
  fold();
  return hash_;
}

void digest_builder::field(double v) { number(std::bit_cast<std::uint64_t>(v)); }

void digest_builder::field(std::string_view s) {
  number(s.size());
  const auto view = as_bytes(s);
  buffer_.insert(buffer_.end(), view.begin(), view.end());
}

void digest_builder::field(const answer& a) { fields(a.code, a.value, a.value2, std::string_view(a.text)); }

void digest_builder::field(const job_param& p) {
  number(p.index());
  if (const auto* s = std::get_if<std::string>(&p)) return field(std::string_view(*s));
  if (const auto* d = std::get_if<double>(&p)) return field(*d);
  if (const auto* b = std::get_if<bool>(&p)) return field(*b);
  field(std::get<std::int64_t>(p));
}

void digest_builder::field(const job_config& c) {
  field(std::string_view(c.runner));
  number(c.when.index());
  if (const auto* s = std::get_if<calendar::cron_schedule>(&c.when))
    fields(std::string_view(s->expression), std::string_view(s->zone), s->dst.gap, s->dst.overlap);
  if (const auto* s = std::get_if<calendar::interval_schedule>(&c.when)) fields(s->every, s->first);
  if (const auto* s = std::get_if<calendar::once_schedule>(&c.when)) field(s->at);
  number(c.params.size());
  for (const auto& [name, value] : c.params) {
    field(std::string_view(name));
    number(value.index());
    if (const auto* one = std::get_if<job_param>(&value)) {
      field(*one);
      continue;
    }
    const auto& list = std::get<std::vector<job_param>>(value);
    number(list.size());
    for (const auto& p : list) field(p);
  }
  fields(c.on_misfire, c.catch_up, c.on_overlap, c.rerun_if_lost);
}

void digest_builder::add(const global_record& r) {
  fields('g', r.view, r.last_journal_id, r.last_stamp, r.read_lease, r.last_admitted);
}

void digest_builder::add(const member_record& r) {
  fields('m', r.id, std::string_view(r.name), std::string_view(r.at.host), r.at.port, r.view_joined, r.removed, r.left,
         r.stopped, r.failed);
}

void digest_builder::add(const session_record& r) {
  fields('s', r.epoch, r.node, r.boot, r.nonce, r.ttl, r.active, r.stopping, r.acked, r.runners.size(), r.used.size());
  for (const auto& runner : r.runners) field(std::string_view(runner));
  for (const auto& [seq, result] : r.used) fields(seq, result);
}

void digest_builder::add(const lock_record& r) {
  fields('l', std::string_view(r.name), r.holder.has_value(), r.waiters.size());
  if (const auto& h = r.holder) fields(h->session, h->request, h->grant, std::string_view(h->label), h->acquired);
  for (const auto& w : r.waiters) fields(w.session, w.request, std::string_view(w.label));
}

void digest_builder::add(const job_run_record& r) {
  fields(std::string_view(r.job), r.number, r.version, r.scheduled, r.attempt, r.coalesced, r.fence, r.session, r.node,
         r.claimed);
  fields(r.started, r.took, r.what, std::string_view(r.message));
}

void digest_builder::add(const job_record& r) {
  fields('j', std::string_view(r.id), r.config, r.version, r.owner, r.next, r.last, r.last_outcome, r.history_first,
         r.history_count, r.created, r.running.size(), r.lost.size());
  for (const auto& run : r.running) add(run);
  for (const auto& run : r.lost) add(run);
}

void digest_builder::add(const journal_record& r) {
  fields('q', std::string_view(r.name), r.first, r.last, r.count, r.trimmed, r.total, r.keep, r.last_created);
}

void digest_builder::add(const journal_bucket& r) {
  fields('b', std::string_view(r.journal), r.first, r.last, r.count, r.newest);
}

void digest_builder::add(const journal_key& r) {
  fields('k', std::string_view(r.journal), std::string_view(r.key), r.first, r.last);
}

}  // namespace coterie::machine
