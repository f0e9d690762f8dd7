#include "runtime/start.hpp"

#include <algorithm>
#include <array>

#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "net/endpoint.hpp"

namespace coterie::runtime {

namespace {
result<void> check_bind(const driver_options& o) {
  const auto hosts = net::resolve_now(o.bind.host);
  if (!hosts) return tl::unexpected(hosts.error());
  const auto open_to_others = [](const auto& a) { return !net::unmapped(a).is_loopback(); };
  if (!o.insecure && std::any_of(hosts->begin(), hosts->end(), open_to_others))
    return fail(errc::bad_argument,
                fmt::format("refusing to listen on {} without encryption: cluster keys are not built yet; bind to a "
                            "loopback address, or pass --insecure to go without",
                            o.bind.host));
  if (!o.engine.advertise && hosts->front().is_unspecified())
    return fail(errc::bad_argument,
                fmt::format("{} is every address of this machine, other nodes can't dial that: say with --advertise "
                            "which one they should use, or bind to one",
                            o.bind.host));
  return {};
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "node";
  return name.data();
}

result<engine::prepared> prepare(const disk::image& image, const driver_options& o, bool rejoin) {
  return engine::recover(image, random_word(), random_word(), rejoin, o.engine.data_groups);
}

}  // namespace

std::optional<std::string> lost_writes(const coterie::store& s, const engine::log_ends& ends) {
  if (const auto damage = s.damage()) return *damage;
  const auto length = engine::length_of(ends);
  if (length < s.synced())
    return fmt::format("the log ends at {} although it was durable up to {}", length, s.synced());
  return std::nullopt;
}

result<void> check(driver_options& o) {
  if (o.home.empty() && !o.engine.gossip_only)
    return fail(errc::bad_argument,
                "a node needs a directory for its data: name one with --data, or run it with --gossip-only");
  if (o.engine.name.empty()) o.engine.name = host_name();
  if (o.bind.host.empty()) o.bind.host = "127.0.0.1";
  if (auto ok = engine::check_tags(o.engine); !ok) return ok;
  return check_bind(o);
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  ssize_t n = -1;
  while (n < 0) n = ::getrandom(&word, sizeof word, 0);  // a signal may interrupt it; so few bytes come whole
  COTERIE_ASSERT(n == sizeof word);
  return word;
}

result<opened_home> open_home(const driver_options& o) {
  opened_home home;
  if (o.home.empty()) {
    auto p = prepare({}, o, false);
    if (!p) return tl::unexpected(p.error());
    home.state = std::move(p->state);
    return home;
  }
  auto opened = coterie::store::open(o.home);
  if (!opened) return tl::unexpected(opened.error());
  home.disk = std::move(*opened);
  auto image = home.disk->load(engine::state_memory_begin(), engine::state_memory_end());
  if (!image) {
    // If tables are damaged, the next opening finds out which.
    home.disk.reset();
    opened = coterie::store::open(o.home);
    if (!opened) return tl::unexpected(opened.error());
    home.disk = std::move(*opened);
    image = home.disk->load(engine::state_memory_begin(), engine::state_memory_end());
  }
  if (!image) return tl::unexpected(image.error());
  auto p = prepare(*image, o, o.rejoin);
  if (!p) return tl::unexpected(p.error());
  auto lost = lost_writes(*home.disk, p->state.ends());
  if (!lost && o.rejoin && p->state.damaged) lost = p->state.damaged->what;
  if (lost && !o.rejoin)
    return fail(
        errc::unavailable,
        fmt::format("the data in {} has lost writes ({}): start it with --rejoin, so that it comes back as a new "
                    "node and gets the state from the others",
                    o.home.string(), *lost));
  if (lost) {
    p = prepare({}, o, false);
    if (!p) return tl::unexpected(p.error());
    auto batch = disk::erase_everything();
    batch.insert(batch.end(), p->first_write.begin(), p->first_write.end());
    p->first_write = std::move(batch);
    home.warning = "starting as a new node: " + *lost;
  }
  // The mark goes down before the log does.
  home.log_ends = p->state.ends();
  if (const auto length = engine::length_of(home.log_ends); home.disk->synced() > length)
    if (auto done = home.disk->mark_synced(length); !done) return tl::unexpected(done.error());
  if (auto done = home.disk->write(p->first_write, true); !done) return tl::unexpected(done.error());
  if (lost)
    if (auto done = home.disk->forget_damage(); !done) return tl::unexpected(done.error());
  home.state = std::move(p->state);
  return home;
}

}  // namespace coterie::runtime
