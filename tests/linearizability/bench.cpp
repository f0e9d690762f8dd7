// How fast the checker is: many keys, and long histories of one key. Prints operations a second; judges nothing but the
// verdicts.
#include <chrono>

#include <fmt/format.h>

#include "linearizability/checker.hpp"
#include "linearizability/generate.hpp"

namespace {

using namespace coterie::linearizability;
using milliseconds = std::chrono::duration<double, std::milli>;

bool measure(const char* what, const recipe& r, bool wrong = false) {
  coterie::rng random(1);
  history h = generate(r, random);
  if (wrong) {  // an old value is read at the end
    operation o = h[h.size() / 2];
    for (std::size_t i = h.size() / 2; o.name != "read" || o.output->is_null(); ++i) o = h[i];
    o.call = 2'000'000'000;
    o.returned = o.call + 1;
    h.push_back(o);
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto result = check(h);
  const milliseconds took = std::chrono::steady_clock::now() - begin;
  const auto verdict = result ? name_of(result->what) : "malformed";
  fmt::print("{:<58} {:>8} ops {:>9.1f} ms {:>10.0f} ops/s {:>10} steps  {}\n", what, h.size(), took.count(),
             static_cast<double>(h.size()) / took.count() * 1e3, result ? result->steps : 0, verdict);
  if (result && !result->failures.empty()) fmt::print("{} operations shown\n", result->failures[0].shown.size());
  return verdict == name_of(wrong ? verdict::not_linearizable : verdict::linearizable);
}

}  // namespace

int main() {
  bool right = true;
  right &= measure("register, 1000 keys, 50 clients", {model::register_, 100'000, 50, 1'000, 5, 0.01});
  right &= measure("kv, 1000 keys, 50 clients", {model::key_value, 100'000, 50, 1'000, 0, 0.01});
  right &= measure("lock, 1000 keys, 50 clients", {model::lock, 100'000, 50, 1'000, 5, 0.01});
  right &= measure("journal, 1000 keys, 50 clients", {model::journal, 100'000, 50, 1'000, 5, 0.01});
  right &= measure("register, 1 key, 10 clients", {model::register_, 10'000, 10, 1, 5, 0});
  right &= measure("register, 1 key, 10 clients, unique values", {model::register_, 10'000, 10, 1, 0, 0});
  right &= measure("register, 1 key, 30 clients, unique values", {model::register_, 10'000, 30, 1, 0, 0});
  right &= measure("register, 1 key, 10 clients, 1 % unknown", {model::register_, 10'000, 10, 1, 5, 0.01});
  right &= measure("register, 1 key, 10 clients, unique, 1 % unknown", {model::register_, 10'000, 10, 1, 0, 0.01});
  right &= measure("kv, 1 key, 10 clients", {model::key_value, 10'000, 10, 1, 0, 0});
  right &= measure("kv, 1 key, 10 clients, 1 % unknown", {model::key_value, 10'000, 10, 1, 0, 0.01});
  right &= measure("lock, 1 key, 10 clients, 1 % unknown", {model::lock, 10'000, 10, 1, 0, 0.01});
  right &= measure("journal, 1 key, 10 clients, 5 % unknown", {model::journal, 10'000, 10, 1, 0, 0.05});
  right &= measure("register, 100 000 on 1 key, 10 clients", {model::register_, 100'000, 10, 1, 5, 0});
  right &= measure("register, 1 key, 10 clients, wrong at the end", {model::register_, 10'000, 10, 1, 0, 0}, true);
  return right ? 0 : 1;
}
