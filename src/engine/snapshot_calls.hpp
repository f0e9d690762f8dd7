// The whole state as a client reads it, page by page (`coterie cluster snapshot`): one frozen view of the disk for each
// reader. Knows views and keys, not what the state means.
#pragma once

#include <map>

#include "engine/context.hpp"
#include "engine/replica.hpp"

namespace coterie::engine {

class snapshot_calls {
 public:
  explicit snapshot_calls(context& c) : ctx_(c) {}

  /// Freezes the state as it is applied now, and answers with the first page. errc::limit when too many are open.
  void begin(call_id, replica&);
  /// The page after `from` of a view that begin() answered with; errc::not_found when that is closed.
  void next(call_id, const wire::read_snapshot&, replica&);
  bool on_read(const read_done&);
  /// Closes views that nobody reads on.
  void tick();

 private:
  struct open {
    wire::snapshot_page head;
    instant until;
  };
  struct page_read {
    call_id call;
    std::uint64_t view = 0;
  };
  void read_page(call_id, std::uint64_t view, bytes from, replica&);

  context& ctx_;
  std::map<std::uint64_t, open> views_;
  std::map<read_id, page_read> reads_;
};

}  // namespace coterie::engine
