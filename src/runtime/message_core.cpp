// Messages behind the public API: limits checked here, the rest is the engine's (bus). Keeps nothing.
#include <fmt/format.h>

#include "runtime/node_core.hpp"

namespace coterie {

using runtime::or_code;
using runtime::or_throw;

namespace {

result<void> check_channel(const detail::node_core& n, std::string_view channel) {
  if (channel.empty() || channel.size() > n.max_channel)
    return fail(errc::limit, fmt::format("a channel has 1 to {} bytes, not {}", n.max_channel, channel.size()));
  return {};
}

result<void> publish_on(detail::node_core& n, std::string_view channel, std::string_view body) {
  if (n.over()) return fail(errc::closed, "the node has stopped");
  if (auto ok = check_channel(n, channel); !ok) return ok;
  if (body.size() > n.max_body)
    return fail(errc::limit, fmt::format("a message has at most {} bytes, not {}", n.max_body, body.size()));
  n.submit(wire::publish{std::string(channel), std::string(body)});
  return {};
}

}  // namespace

messenger::messenger(std::shared_ptr<detail::node_core> c) noexcept : core_(std::move(c)) {}

void messenger::publish(std::string_view channel, std::string_view body) {
  or_throw(publish_on(*core_, channel, body));
}
void messenger::publish(std::string_view channel, std::string_view body, std::error_code& ec) {
  or_code(publish_on(*core_, channel, body), ec);
}

subscription messenger::listen(std::string_view channel, std::function<void(const message&)> f, executor e) {
  or_throw(check_channel(*core_, channel));
  auto calls = core_->make_strand(std::move(e));
  const auto id =
      core_->submit(wire::listen{std::string(channel)}, [calls, f = std::move(f)](const wire::response& r, bool) {
        if (const auto* m = std::get_if<wire::message_out>(&r))
          calls->post([f, m = message{m->channel, m->body, m->sender, m->boot, m->seq}] { f(m); });
      });
  return subscription(std::make_shared<runtime::strand_subscription>(calls, [c = core_, id] { c->cancel(id); }));
}

}  // namespace coterie
