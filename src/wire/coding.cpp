#include "wire/coding.hpp"

namespace coterie::wire {

kj::ArrayPtr<capnp::word> segment_builder::allocateSegment(capnp::uint minimum) {
  if (first_.size() >= minimum) return std::exchange(first_, nullptr);
  more_.push_back(kj::heapArray<capnp::word>(std::max<std::size_t>(minimum, 1024)));
  kj::ArrayPtr<kj::byte> room = more_.back().asBytes();
  std::fill(room.begin(), room.end(), kj::byte{0});
  return more_.back();
}

void put_map(capnp::List<schema::Pair>::Builder list, const text_map& values) {
  put_list(list, values, [](schema::Pair::Builder b, const auto& v) {
    b.setKey(text(v.first));
    b.setValue(text(v.second));
  });
}

text_map get_text_map(capnp::List<schema::Pair>::Reader list) {
  return get_map<text_map>(
      list, [](schema::Pair::Reader r) { return std::pair(get_text(r.getKey()), get_text(r.getValue())); });
}

}  // namespace coterie::wire
