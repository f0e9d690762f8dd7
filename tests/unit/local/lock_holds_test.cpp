// Holds of threads: each thread sees its own, and what it leaves behind is told.
#include "local/lock_holds.hpp"

#include <thread>
#include <vector>

#include "catch.hpp"

namespace {

using coterie::local::lock_grant;
using coterie::local::lock_holds;

std::shared_ptr<lock_grant> grant(std::string name, std::uint64_t fence) {
  auto g = std::make_shared<lock_grant>();
  g->name = std::move(name);
  g->fence = fence;
  return g;
}

TEST_CASE("a thread finds only its own hold, by name") {
  const auto table = std::make_shared<lock_holds>([](lock_grant&) {});
  CHECK(table->find("a") == nullptr);
  table->add(grant("a", 7));
  table->add(grant("b", 8));
  REQUIRE(table->find("a") != nullptr);
  CHECK(table->find("a")->grant->fence == 7);
  CHECK(table->find("b")->grant->fence == 8);
  bool other_sees = true;
  std::thread([&] { other_sees = table->find("a") != nullptr; }).join();
  CHECK_FALSE(other_sees);
  table->remove(*table->find("a"));
  CHECK(table->find("a") == nullptr);
  CHECK(table->find("b") != nullptr);
  table->remove(*table->find("b"));
}

TEST_CASE("two nodes in one process do not share holds") {
  const auto one = std::make_shared<lock_holds>([](lock_grant&) {});
  const auto two = std::make_shared<lock_holds>([](lock_grant&) {});
  one->add(grant("a", 1));
  CHECK(two->find("a") == nullptr);
  one->remove(*one->find("a"));
}

TEST_CASE("a thread that ends while holding tells each hold once") {
  std::vector<std::uint64_t> told;
  const auto table = std::make_shared<lock_holds>([&](lock_grant& g) { told.push_back(g.fence); });
  std::thread([&] {
    table->add(grant("a", 1));
    table->add(grant("b", 2));
    table->add(grant("c", 3));
    table->remove(*table->find("b"));
  }).join();
  CHECK(told == std::vector<std::uint64_t>{1, 3});
}

TEST_CASE("a closed table is told nothing, and may be gone before its threads") {
  int told = 0;
  auto table = std::make_shared<lock_holds>([&](lock_grant&) { ++told; });
  std::thread([&] {
    table->add(grant("a", 1));
    table->close();
    table.reset();
  }).join();
  CHECK(told == 0);
}

}  // namespace
