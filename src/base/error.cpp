// The sentences of the error codes, and their std::error_category. Knows nothing of who fails.
#include "base/result.hpp"

namespace coterie {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "coterie"; }
  std::string message(int value) const override { return describe(static_cast<errc>(value)); }
};

}  // namespace

const std::error_category& coterie_category() noexcept {
  static const category instance;
  return instance;
}

const char* describe(errc e) noexcept {
  switch (e) {
    case errc::no_quorum:
      return "no contact with a majority of the voters";
    case errc::timeout:
      return "no answer in time";
    case errc::lock_lost:
      return "the lease ended before the lock was released";
    case errc::not_owner:
      return "the lock is not held by the caller";
    case errc::limit:
      return "a limit is reached";
    case errc::bad_name:
      return "the name is not allowed";
    case errc::bad_cron:
      return "the cron expression does not parse";
    case errc::no_runner:
      return "no such runner is registered";
    case errc::passive:
      return "the node takes no such work in its present state";
    case errc::retention_gap:
      return "entries after the cursor were removed by age";
    case errc::closed:
      return "the node has stopped";
    case errc::indeterminate:
      return "the outcome is unknown";
    case errc::in_callback:
      return "a blocking call inside a callback of the same node";
    case errc::exists:
      return "it exists already";
    case errc::no_shared_home:
      return "no shared home is configured";
    case errc::not_found:
      return "there is nothing of that name";
    case errc::held:
      return "the lock is held by another owner";
    case errc::bad_argument:
      return "an argument is not usable";
    case errc::unavailable:
      return "the node can't serve this in its present state";
  }
  return "unknown error";
}

}  // namespace coterie
