// Caches and messages, as seen from outside the processes that use them.
#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"

namespace coterie::command {

int cache_list(const common& c) {
  const auto l = c.connect().ask<wire::cache_list>(wire::list_caches{}, c.patience());
  if (c.as_json) {
    json r = json::array();
    for (const auto& x : l.caches)
      r.push_back({{"name", x.name},
                   {"entries", nullptr},  // contents stay in the process that has them
                   {"hits", nullptr},
                   {"misses", nullptr},
                   {"invalidations_in", x.invalidations_in},
                   {"invalidations_out", x.invalidations_out},
                   {"gaps_repaired", x.gaps_repaired},
                   {"unverified", x.unverified}});
    print(r);
    return ok;
  }
  table t({"CACHE", "IN", "OUT", "GAPS REPAIRED", "VERIFIED"});
  for (const auto& x : l.caches)
    t.add({x.name, fmt::format("{}", x.invalidations_in), fmt::format("{}", x.invalidations_out),
           fmt::format("{}", x.gaps_repaired), x.unverified ? paint(colour::yellow, "no") : "yes"});
  print_text(t.text());
  return ok;
}

int cache_invalidate(const common& c, const std::string& name, const std::optional<std::string>& key) {
  c.connect().ask(wire::invalidate_cache{name, key, true, 0}, c.patience(), true);
  if (c.as_json)
    print(json{{"cache", name}, {"key", key ? json(*key) : json(nullptr)}, {"confirmed", true}});
  else
    print_text(key ? fmt::format("{} of {} is gone on every live node\n", *key, name)
                   : fmt::format("{} is empty on every live node\n", name));
  return ok;
}

int send_message(const common& c, const std::string& channel, const std::string& body) {
  c.connect().ask(wire::publish{channel, body}, c.patience(), true);
  if (c.as_json) print(json{{"channel", channel}, {"sent", true}});
  return ok;
}

int listen_to(const common& c, const std::string& channel) {
  auto node = c.connect();
  node.send(wire::listen{channel});
  while (auto a = node.next(deadline::max())) {
    if (const auto* f = std::get_if<failure>(&a->what)) raise(*f);
    const auto* m = std::get_if<wire::message_out>(&a->what);
    if (m == nullptr) continue;
    if (c.as_json)
      print_line(json{{"channel", m->channel}, {"body", m->body}, {"sender", m->sender}, {"seq", m->seq}});
    else
      print_text(fmt::format("{}  {}\n", m->sender, m->body));
  }
  return ok;
}

}  // namespace coterie::command
