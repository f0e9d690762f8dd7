#include "runtime/lease_page.hpp"

#include <algorithm>

#include "runtime/clocks.hpp"

namespace coterie::runtime {

void lease_page::set(const engine::lease& l) {
  sequence_.fetch_add(1);  // odd: being written
  epoch_.store(l.epoch.value);
  steady_.store(l.steady.time_since_epoch().count());
  boot_.store(l.boot.time_since_epoch().count());
  sequence_.fetch_add(1);
}

session_epoch lease_page::epoch() const noexcept { return session_epoch(epoch_.load()); }

bool lease_page::valid(session_epoch e) const noexcept { return left(e) > duration::zero(); }

duration lease_page::left(session_epoch e) const noexcept {
  for (;;) {
    const auto before = sequence_.load();
    if ((before & 1) != 0) continue;  // a few stores away
    const auto epoch = epoch_.load();
    const instant steady{duration(steady_.load())};
    const boot_instant boot{duration(boot_.load())};
    if (sequence_.load() != before) continue;
    if (!e || epoch != e.value || steady == instant::min() || boot == boot_instant::min()) return duration::zero();
    const auto now = read_lease_clocks();
    if (steady <= now.steady || boot <= now.boot) return duration::zero();
    return std::min(steady - now.steady, boot - now.boot);
  }
}

}  // namespace coterie::runtime
