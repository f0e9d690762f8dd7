#include "engine/answers.hpp"

#include "base/overloaded.hpp"
#include "machine/due.hpp"

namespace coterie::engine {

namespace {

wire::response job_added(const std::string& id, const machine::answer& a, const machine::machine& m) {
  wire::job_added out{id, a.value, a.value2 != 0, {}, {}};
  if (const auto j = m.jobs().find(id); j != m.jobs().end()) {
    out.next = j->second.next;
    out.then = machine::time_after_next(j->second);
  }
  return out;
}

}  // namespace

expectation expected_of(const machine::command_body& body) {
  if (const auto* job = std::get_if<machine::schedule_job>(&body)) return expects_job{job->id};
  if (std::holds_alternative<machine::journal_append>(body)) return expects_ids{};
  return expects_done{};
}

wire::response response_to(const expectation& e, const machine::answer& a, const machine::machine& m) {
  return std::visit(overloaded{
                        [](const expects_done&) -> wire::response { return wire::done{}; },
                        [&](const expects_ids&) -> wire::response {
                          wire::appended out;
                          for (auto id = a.value; id <= a.value2; ++id) out.ids.push_back(id);
                          return out;
                        },
                        [&](const expects_job& x) { return job_added(x.id, a, m); },
                    },
                    e);
}

}  // namespace coterie::engine
