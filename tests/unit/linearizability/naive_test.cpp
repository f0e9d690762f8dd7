// The checker against the definition: thousands of tiny random histories, right and wrong.
#include "naive.hpp"
#include <algorithm>
#include <sstream>

#include "catch.hpp"
#include "linearizability/checker.hpp"
#include "linearizability/generate.hpp"

using namespace coterie;
using namespace coterie::linearizability;

namespace {

std::string text(const history& h) {
  std::ostringstream out;
  write_json_lines(out, h);
  return out.str();
}

recipe tiny(model m, rng& random) {
  recipe r;
  r.meaning = m;
  r.operations = 2 + random.below(6);
  r.clients = 1 + random.below(5);
  r.values = 1 + random.below(3);
  r.unknown = random.chance(0.5) ? 0.25 : 0;
  r.duration = random.below(5);
  return r;
}

// What is shown contradicts itself even when all else may be left out.
void contradiction_holds(model m, const history& h, const failure& f) {
  // an acquire without an answer was not granted the fence that another one returned, even if that may be left out
  if (m == model::lock &&
      std::any_of(h.begin(), h.end(), [](const operation& o) { return o.name == "acquire" && !o.output; }))
    return;
  REQUIRE(f.shown.size() == f.core.size());
  REQUIRE(!f.why.empty());
  std::vector<bool> skippable;
  for (const auto& o : h) {
    skippable.push_back(true);
    for (std::size_t i = 0; i < f.shown.size(); ++i)
      if (f.core[i] && text({f.shown[i]}) == text({o})) skippable.back() = false;
  }
  INFO(f.text());
  CHECK(!naive::linearizable(m, h, skippable));
}

}  // namespace

TEST_CASE("verdicts of tiny histories are those of the definition", "[linearizability]") {
  const auto m = GENERATE(model::register_, model::key_value, model::lock, model::journal);
  constexpr int rounds = 4'000;
  rng random(7 + static_cast<std::uint64_t>(m));
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    history h = generate(tiny(m, random), random);
    const bool damaged = random.chance(0.9);
    if (damaged)
      for (auto n = 2 + random.below(4); n > 0; --n) damage(h, random);
    const auto r = check(h);
    INFO(text(h));
    REQUIRE(r);
    const bool expected = naive::linearizable(m, h);
    if (!damaged) REQUIRE(expected);
    REQUIRE(r->what == (expected ? verdict::linearizable : verdict::not_linearizable));
    if (!expected) {
      ++wrong;
      REQUIRE(r->failures.size() == 1);
      contradiction_holds(m, h, r->failures[0]);
    }
    // a table that is emptied all the time changes nothing
    options small;
    small.explain = false;
    small.spend.bytes = 4'096;
    const auto again = check(h, small);
    REQUIRE((again->what == r->what || again->what == verdict::unknown));
  }
  INFO(name_of(m) << ": " << wrong << " of " << rounds << " are not linearizable");
  CHECK(wrong > rounds / 5);
  CHECK(wrong < rounds * 4 / 5);
}

TEST_CASE("longer histories of correct objects are linearizable", "[linearizability]") {
  const auto m = GENERATE(model::register_, model::key_value, model::lock, model::journal);
  rng random(99);
  for (int i = 0; i < 60; ++i) {
    recipe r;
    r.meaning = m;
    r.operations = 50 + random.below(400);
    r.clients = 1 + random.below(12);
    r.keys = 1 + random.below(4);
    r.values = random.below(6);
    r.unknown = random.chance(0.5) ? 0.05 : 0;
    r.duration = random.below(20);
    const history h = generate(r, random);
    const auto result = check(h);
    REQUIRE(result);
    INFO(text(h));
    REQUIRE(result->what == verdict::linearizable);
  }
}
