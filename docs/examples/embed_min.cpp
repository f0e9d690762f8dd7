// The smallest host: a cluster of one, a lock that guards something, and an entry that survives. More nodes join by
// naming one another in `seeds`.
#include <coterie/coterie.hpp>

#include <iostream>
#include <mutex>

int main() {
  const auto home = std::filesystem::temp_directory_path() / "coterie-embed-min";
  std::filesystem::remove_all(home);
  auto node = coterie::node::start({.bind = "127.0.0.1:0", .local_home = home, .bootstrap_single = true});
  if (!node.wait_ready(std::chrono::seconds(20))) return 1;

  auto turn = node.locks().get("shop.import");
  const std::scoped_lock only_one(turn);  // in the whole cluster

  auto orders = node.open_journal("shop.orders");
  orders.enqueue("created", R"({"id": 17})");  // durable on a majority when it returns
  const auto done = orders.process(100, [](auto entries) {
    for (const auto& e : entries) std::cout << e.id << ' ' << e.type << ' ' << e.message << '\n';
    return coterie::processed::all();
  });
  return done == 1 ? 0 : 1;
}
