#include "linearizability/timeline.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace coterie::linearizability {

namespace {

constexpr std::size_t max_columns = 72;

}  // namespace

std::string timeline(const operation_list& operations, const std::vector<bool>& marked) {
  const auto ended = [](const operation& o) { return o.returned && (o.output || o.name == "lost"); };
  std::vector<std::int64_t> instants;
  for (const auto* o : operations) {
    instants.push_back(o->call);
    if (ended(*o)) instants.push_back(*o->returned);
  }
  std::sort(instants.begin(), instants.end());
  instants.erase(std::unique(instants.begin(), instants.end()), instants.end());
  const std::size_t stride = instants.size() * 3 <= max_columns ? 3 : instants.size() * 2 <= max_columns ? 2 : 1;
  const auto column = [&](std::int64_t at) {
    const auto rank =
        static_cast<std::size_t>(std::lower_bound(instants.begin(), instants.end(), at) - instants.begin());
    return instants.size() > max_columns ? rank * max_columns / instants.size() : rank * stride;
  };
  std::size_t call_width = 9, process_width = 7, text_width = 9;
  std::vector<std::string> texts;
  for (const auto* o : operations) {
    texts.push_back(text_of(*o));
    call_width = std::max(call_width, std::to_string(o->call).size());
    process_width = std::max(process_width, std::to_string(o->process).size());
    text_width = std::max(text_width, texts.back().size());
  }
  std::string out = fmt::format("  {:>{}}  {:>{}}  {:<{}}  time\n", "called at", call_width, "process", process_width,
                                "operation", text_width);
  const std::size_t end = column(instants.empty() ? 0 : instants.back()) + 2;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    const auto from = column(o.call), to = ended(o) ? column(*o.returned) : end;
    std::string bar = std::string(from, ' ') + '|';
    if (to > from) bar += std::string(to - from - 1, '-') + (ended(o) ? '|' : '?');
    out += fmt::format("{} {:>{}}  {:>{}}  {:<{}}  {}\n", i < marked.size() && marked[i] ? '*' : ' ', o.call,
                       call_width, o.process, process_width, texts[i], text_width, bar);
  }
  return out;
}

}  // namespace coterie::linearizability
