// Every field of every message, command and record comes back as it was.
#include <string>

#include "catch.hpp"
#include "unit/wire/samples.hpp"

TEST_CASE("everything survives a round trip") {
  for (const auto& kind : samples::all_kinds()) {
    for (std::size_t which = 0; which < kind.variants; ++which) {
      for (std::uint64_t seed = 0; seed < 60; ++seed) {
        coterie::rng r(seed);
        INFO(kind.name << ", alternative " << which << ", seed " << seed);
        REQUIRE(kind.survives(which, r));
      }
    }
  }
}

TEST_CASE("messages are read wherever they lie") {
  for (const auto& kind : samples::all_kinds()) {
    coterie::rng r(7);
    const auto message = kind.make(0, r);
    coterie::bytes shifted(message.size() + 8);
    for (std::size_t by = 1; by < 8; ++by) {
      std::copy(message.begin(), message.end(), shifted.begin() + static_cast<std::ptrdiff_t>(by));
      INFO(kind.name << " at " << by);
      CHECK(kind.again(coterie::byte_view(shifted).subspan(by, message.size())) == message);
    }
  }
}

TEST_CASE("what is empty and what is absent differ") {
  using namespace coterie;
  using namespace coterie::wire;
  for (const std::optional<std::string>& key : {std::optional<std::string>(), std::optional<std::string>("")}) {
    const auto frame = encode(1, invalidate_cache{"c", key, true});
    const auto back = decode_request(byte_view(frame).subspan(header_size));
    REQUIRE(back);
    CHECK(std::get<invalidate_cache>(back->what).key == key);
  }
}

TEST_CASE("a large message is still one segment") {
  using namespace coterie;
  using namespace coterie::wire;
  response many = run_list{std::vector<run_out>(20'000)};  // its size is not guessed right before it is written
  for (auto& run : std::get<run_list>(many).runs) run.run.message = "a message of some length";
  const auto frame = encode(5, many, true);
  CHECK(frame.size() > 3'000'000);
  const auto back = decode_response(byte_view(frame).subspan(header_size));
  REQUIRE(back);
  CHECK(fields::same(back->what, many));
}

TEST_CASE("times and durations of any size fit nanoseconds") {
  using namespace coterie;
  using namespace coterie::wire;
  const auto there_and_back = [](std::chrono::milliseconds keep) {
    const auto back =
        decode_command(encode(machine::command{{}, {}, {}, {}, machine::journal_retention{"j", keep}}).view());
    return std::get<machine::journal_retention>(back.value().body).keep;
  };
  const std::chrono::milliseconds most(std::int64_t{1} << 43);
  CHECK(there_and_back(most) == most);
  CHECK(there_and_back(std::chrono::milliseconds::max()) == most);
  CHECK(there_and_back(std::chrono::milliseconds::min()) == -most);
  CHECK(duration_cast<duration>(most) > 278 * 365 * 24h);
}
