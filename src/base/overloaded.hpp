// One visitor out of several lambdas, for std::visit.
#pragma once

namespace coterie {

template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

}  // namespace coterie
