// The node of the public API: options checked, services made.
#include <charconv>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "machine/check.hpp"
#include "runtime/node_core.hpp"

namespace coterie {

using runtime::or_code;
using runtime::or_throw;

const char* to_string(node_state s) noexcept {
  switch (s) {
    case node_state::starting:
      return "starting";
    case node_state::forming:
      return "forming";
    case node_state::joining:
      return "joining";
    case node_state::active:
      return "active";
    case node_state::stopping:
      return "stopping";
    case node_state::leaving:
      return "leaving";
    case node_state::stopped:
      return "stopped";
    case node_state::left:
      return "left";
    case node_state::failed:
      return "failed";
  }
  return "?";
}

// ---- node ----------------------------------------------------------------------------------------------------------

struct node::impl {
  explicit impl(std::shared_ptr<detail::node_core> c)
      : core(std::move(c)),
        locks(detail::make_lock_core(core)),
        jobs(detail::make_job_core(core)),
        caches(detail::make_cache_core(core)),
        messages(core) {}
  ~impl() {
    const auto r = core->stop(ms(5'000));
    COTERIE_ASSERT(r);  // not inside one of the node's own callbacks
  }

  const std::shared_ptr<detail::node_core> core;
  lock_service locks;
  job_service jobs;
  cache_manager caches;
  messenger messages;
};

namespace {

result<runtime::driver_options> driver_options_of(const node_options& o) {
  runtime::driver_options d;
  if (!o.key_file.empty())
    return fail(errc::bad_argument,
                "cluster keys are not built yet: leave key_file empty, and set insecure to listen beyond loopback");
  if (o.session_ttl < ms(1'000) || o.session_ttl > ms(120'000))
    return fail(errc::bad_argument, fmt::format("session_ttl is 1 to 120 s, not {} ms", o.session_ttl.count()));
  if (o.max_voters % 2 == 0 || o.max_voters > 7)
    return fail(errc::bad_argument, fmt::format("max_voters is 1, 3, 5 or 7, not {}", o.max_voters));
  if (o.standbys > 8) return fail(errc::bad_argument, fmt::format("standbys is 0 to 8, not {}", o.standbys));
  if (o.relay_fan_out == 0 || o.relay_fan_out > 64)
    return fail(errc::bad_argument, fmt::format("relay_fan_out is 1 to 64, not {}", o.relay_fan_out));
  d.engine.voters.max_voters = o.max_voters;
  d.engine.voters.standbys = o.standbys;
  d.engine.relay_fan_out = o.relay_fan_out;
  d.engine.name = o.name;
  d.engine.cluster = o.cluster;
  for (const auto& s : o.seeds) {
    auto a = address::parse(s);
    if (!a) return tl::unexpected(a.error());
    d.engine.seeds.push_back(std::move(*a));
  }
  if (!o.bind.empty()) {
    auto a = address::parse(o.bind);
    if (!a) return tl::unexpected(a.error());
    d.bind = std::move(*a);
  } else {
    d.bind = {"127.0.0.1", default_port};
  }
  if (!o.advertise.empty()) {
    auto a = address::parse(o.advertise, d.bind.port);
    if (!a) return tl::unexpected(a.error());
    d.engine.advertise = std::move(*a);
  }
  d.engine.tags = {o.tags.begin(), o.tags.end()};
  d.engine.session_ttl = o.session_ttl;
  d.engine.bootstrap_single = o.bootstrap_single;
  d.engine.gossip_only = o.gossip_only;
  d.home = o.local_home;
  d.rejoin = o.rejoin;
  d.insecure = o.insecure;
  return d;
}

result<std::shared_ptr<detail::node_core>> start_core(node_options&& o) {
  auto d = driver_options_of(o);
  if (!d) return tl::unexpected(d.error());
  return detail::node_core::start(std::move(*d), {std::move(o.callbacks), std::move(o.log)});
}

member from_wire(wire::member_info&& m) {
  return {std::move(m.name),
          m.id.str(),
          m.at.str(),
          std::move(m.state),
          std::move(m.role),
          std::move(m.version),
          m.since,
          m.rtt_ms,
          {m.tags.begin(), m.tags.end()},
          m.leader,
          m.self};
}

result<std::vector<member>> members_of(detail::node_core& c) {
  auto list = c.ask<wire::member_list>(wire::get_members{});
  if (!list) return tl::unexpected(list.error());
  std::vector<member> r;
  for (auto& m : list->members) r.push_back(from_wire(std::move(m)));
  return r;
}

result<void> set_tags_of(detail::node_core& c, const std::map<std::string, std::string>& set,
                         const std::vector<std::string>& remove) {
  const auto r = c.ask<wire::response>(wire::set_tags{{set.begin(), set.end()}, remove});
  return r ? result<void>() : tl::unexpected(r.error());
}

result<void> set_retention(detail::node_core& c, std::string_view name, std::optional<ms> retention) {
  if (auto ok = machine::check_journal(name); !ok || !retention) return ok;
  const auto r = c.ask<wire::response>(wire::keep_journal{std::string(name), *retention});
  return r ? result<void>() : tl::unexpected(r.error());
}

}  // namespace

node::node(std::unique_ptr<impl> i) noexcept : impl_(std::move(i)) {}
node::node(node&&) noexcept = default;
node& node::operator=(node&&) noexcept = default;
node::~node() = default;

node node::start(node_options o) { return node(std::make_unique<impl>(or_throw(start_core(std::move(o))))); }
node node::start(node_options o, std::error_code& ec) {
  auto c = or_code(start_core(std::move(o)), ec);
  return node(c ? std::make_unique<impl>(std::move(c)) : nullptr);
}

void node::stop(ms timeout) { or_throw(impl_->core->stop(timeout)); }
void node::stop(ms timeout, std::error_code& ec) { or_code(impl_->core->stop(timeout), ec); }
void node::leave(ms timeout) { or_throw(impl_->core->leave(timeout)); }
void node::leave(ms timeout, std::error_code& ec) { or_code(impl_->core->leave(timeout), ec); }

lock_service& node::locks() noexcept { return impl_->locks; }
job_service& node::jobs() noexcept { return impl_->jobs; }
cache_manager& node::caches() noexcept { return impl_->caches; }
messenger& node::messages() noexcept { return impl_->messages; }

journal node::open_journal(std::string_view name, std::optional<ms> retention) {
  or_throw(set_retention(*impl_->core, name, retention));
  return journal(impl_->core, std::string(name));
}
journal node::open_journal(std::string_view name, std::optional<ms> retention, std::error_code& ec) {
  or_code(set_retention(*impl_->core, name, retention), ec);
  return journal(impl_->core, std::string(name));
}

node_state node::state() const noexcept { return impl_->core->state(); }
std::string node::end_reason() const { return impl_->core->end_reason(); }
subscription node::on_state(std::function<void(node_state)> f, executor e) {
  return impl_->core->on_state(std::move(f), std::move(e));
}
bool node::ready() const {
  const auto s = impl_->core->ask<wire::status_info>(wire::get_status{});
  if (!s && s.error().code == errc::in_callback) runtime::raise(s.error());
  return s && s->ready;
}
bool node::wait_ready(ms timeout) const { return impl_->core->wait_ready(timeout); }

std::vector<member> node::members() const { return or_throw(members_of(*impl_->core)); }
std::vector<member> node::members(std::error_code& ec) const { return or_code(members_of(*impl_->core), ec); }
void node::set_tags(const std::map<std::string, std::string>& set, const std::vector<std::string>& remove) {
  or_throw(set_tags_of(*impl_->core, set, remove));
}
void node::set_tags(const std::map<std::string, std::string>& set, const std::vector<std::string>& remove,
                    std::error_code& ec) {
  or_code(set_tags_of(*impl_->core, set, remove), ec);
}
std::string node::owner_of(std::string_view key) const { return impl_->core->owner_of(key); }
const std::string& node::name() const noexcept { return impl_->core->name; }
std::string node::address() const { return impl_->core->bound; }
std::filesystem::path node::local_home() const { return impl_->core->home; }

}  // namespace coterie
