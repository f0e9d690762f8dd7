#include "net/resolver.hpp"

#include <algorithm>
#include <utility>

#include "net/endpoint.hpp"

namespace coterie::net {

resolver::entry& resolver::at(const std::string& host) {
  if (names_.size() >= opt_.max_names && !names_.contains(host)) {
    const auto idle = std::find_if(names_.begin(), names_.end(), [](const auto& n) { return !n.second.asking; });
    if (idle != names_.end()) names_.erase(idle);
  }
  return names_[host];
}

void resolver::resolve(const std::string& host, handler h) {
  if (const auto a = numeric(host)) return h({*a});
  if (stopped_ || (names_.size() >= 2 * opt_.max_names && !names_.contains(host))) return h({});
  auto& e = at(host);
  if (!e.asking && fresh(e)) {
    const auto found = e.found;
    return h(found);
  }
  if (e.waiting.size() >= opt_.max_waiting) return h({});
  e.waiting.push_back(std::move(h));
  ask(host, e);
}

resolver::addresses resolver::known(const std::string& host) {
  if (const auto a = numeric(host)) return {*a};
  if (stopped_ || (names_.size() >= 2 * opt_.max_names && !names_.contains(host))) return {};
  auto& e = at(host);
  if (!fresh(e)) ask(host, e);
  return e.found;
}

void resolver::ask(const std::string& host, entry& e) {
  if (e.asking) return;
  e.asking = true;
  handler done = [self = shared_from_this(), host](const addresses& found) { self->on_answer(host, found); };
  if (opt_.ask)
    opt_.ask(host, std::move(done));
  else
    ask_system(host, std::move(done));
}

void resolver::ask_system(const std::string& host, handler done) {
  resolver_.async_resolve(host, "", [done = std::move(done)](const std::error_code& ec, const auto& results) {
    addresses found;
    if (!ec)
      for (const auto& r : results)
        if (std::find(found.begin(), found.end(), r.endpoint().address()) == found.end())
          found.push_back(r.endpoint().address());
    done(found);
  });
}

void resolver::on_answer(const std::string& host, const addresses& found) {
  if (stopped_) return;
  auto& e = names_[host];
  e.asking = false;
  e.asked = clock::now();
  if (!found.empty()) e.found = found;
  const auto now = e.found;  // a handler may ask, and the entry be another one then
  for (const auto& h : std::exchange(e.waiting, {})) h(now);
}

void resolver::stop() {
  stopped_ = true;
  resolver_.cancel();
  names_.clear();
}

}  // namespace coterie::net
