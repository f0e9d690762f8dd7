// What tests ask for: nodes that are active, and of an answer the failure in it, or that it is of the kind they want.
#pragma once

#include <optional>
#include <string>

#include "catch.hpp"
#include "unit/engine/nodes.hpp"
#include "wire/request.hpp"

namespace coterie::test {

struct active_nodes : nodes {
  explicit active_nodes(std::size_t n, engine::options o = {}) : nodes(n, std::move(o)) { REQUIRE(run_until_active()); }
};

inline const failure* failure_in(const std::optional<wire::response>& r) {
  return r ? std::get_if<failure>(&*r) : nullptr;
}

inline std::optional<errc> refusal(const std::optional<wire::response>& r) {
  const auto* f = failure_in(r);
  return f != nullptr ? std::optional(f->code) : std::nullopt;
}
inline std::string reason(const std::optional<wire::response>& r) {
  const auto* f = failure_in(r);
  return f != nullptr ? f->message : "";
}

template <class Answer>
bool is(const std::optional<wire::response>& r) {
  return r && std::holds_alternative<Answer>(*r);
}
/// The answer, which has to be of this kind.
template <class Answer>
Answer expect(const std::optional<wire::response>& r) {
  REQUIRE(r);
  INFO(reason(r));
  REQUIRE(std::holds_alternative<Answer>(*r));
  return std::get<Answer>(*r);
}

}  // namespace coterie::test
