// A loop that a test turns by hand until something has come true, or a deadline ends the waiting.
#pragma once

#include <chrono>

#include <asio/io_context.hpp>

namespace coterie::test {

using namespace std::chrono_literals;

template <class Condition>
bool run_until(asio::io_context& io, Condition holds, std::chrono::milliseconds limit = 10s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  io.restart();
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    io.run_one_for(5ms);
    io.restart();
  }
  return true;
}

}  // namespace coterie::test
