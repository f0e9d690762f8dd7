// What every part of the engine shares: who this node is, the options, the present turn. Data only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "base/random.hpp"
#include "engine/engine.hpp"
#include "engine/seam.hpp"

namespace coterie::engine {

/// Lives as long as the engine; `now` and `out` are those of the step under way.
struct context {
  const options* opt = nullptr;
  node_id self;
  boot_epoch boot;
  std::uint64_t start = 0;    ///< drawn anew: tells two starts of one boot apart
  log_ends recovered_ends{};  ///< where the logs ended at this start
  cluster_id cluster;         ///< zero until formed
  times now;
  std::vector<action>* out = nullptr;
  rng random;
  counters stats;
  std::uint64_t last_read = 0, last_ticket = 0;  ///< handed out; numbers are of the whole node

  read_id fresh_read() { return read_id(++last_read); }
  template <class A>
  void emit(A&& a) {
    out->emplace_back(std::forward<A>(a));
  }
  void log(log_level level, std::string text) { emit(log_line{level, std::move(text)}); }
  void reply(call_id id, wire::response r, bool last = true) { emit(answer{id, std::move(r), last}); }
  void refuse(call_id id, errc code, std::string message) { reply(id, failure{code, std::move(message)}); }
};

}  // namespace coterie::engine
