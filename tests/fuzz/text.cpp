// What people write: cron expressions, addresses, ids. The first byte chooses, the rest is the text.
//
// With libFuzzer this is a target. Without (COTERIE_STANDALONE) it is a program: `fuzz_text N FOLDER` damages the files
// of the folder N times at random.
#include <cstdlib>

#include "base/address.hpp"
#include "base/ids.hpp"
#include "cron/expression.hpp"
#include "cron/schedule.hpp"
#include "fuzz/standalone.hpp"

using namespace coterie;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: {
      const auto e = calendar::expression::parse(text);
      if (!e) {
        // The complaint points into the text.
        if (e.error().first + e.error().second > text.size() + 1) std::abort();
        break;
      }
      const auto utc = calendar::zone_rules::utc();
      const wall_time from(1'800'000'000'000ms);
      const auto next = e->next(from, utc);
      if (next && *next <= from) std::abort();
      if (next && e->count(from + 1ms, *next, utc) != 1) std::abort();
      break;
    }
    case 1:
      // What was read is printed so that it reads the same.
      if (const auto a = address::parse(text)) {
        const auto again = address::parse(a->str());
        if (!again || *again != *a) std::abort();
      }
      break;
    default:
      if (const auto id = node_id::parse(text); id && node_id::parse(id->str()) != id) std::abort();
  }
  return 0;
}

#ifdef COTERIE_STANDALONE
int main(int argc, char** argv) { return test::damage_corpus(argc, argv); }
#endif
