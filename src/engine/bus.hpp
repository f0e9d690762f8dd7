// What goes to all live nodes without the log: cache invalidations, which are numbered so that a lost one is found and
// repaired, and messages, which are not (docs/caches.md, docs/messages.md).
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/links.hpp"
#include "swim/membership.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

class bus {
 public:
  bus(context& c, links& l, swim::membership& m) : ctx_(c), links_(l), members_(m) {}

  // caches
  void register_cache(call_id, const wire::register_cache&);
  void invalidate(call_id, const wire::invalidate_cache&, instant deadline);
  void list(call_id) const;
  void on_invalidations(node_id from, const wire::invalidations&);
  void on_ack(node_id from, const wire::invalidation_ack&);
  void on_pull(node_id from, const wire::invalidation_pull&);
  void on_gone(node_id from, const wire::invalidation_gone&);
  void on_digest(const swim::user_datum&);
  /// What gossip has to say of a member: one that is gone can't be asked any more, and the next life of one that died
  /// may not know what the last one had still to say.
  void on_member(const swim::event&);
  /// Nobody tells any more what it said last.
  void on_forgotten(node_id);

  // messages
  void publish(call_id, const wire::publish&);
  void listen(call_id, const wire::listen&);
  void on_message(node_id from, const wire::user_message&);

  void cancel(call_id);
  void tick();
  instant next_wake() const { return wake_; }
  /// What was invalidated here since the last call: (cache, key, origin), for the event stream.
  struct seen {
    std::string cache;
    std::optional<std::string> key;
    node_id origin;
  };
  std::vector<seen> take_seen() { return std::exchange(seen_, {}); }

 private:
  struct local_cache {
    std::set<call_id> streams;
    std::uint64_t in = 0, out = 0, repaired = 0;
  };
  struct own_ring {
    std::uint64_t last = 0;
    std::deque<wire::invalidation> ring;
  };                 // ring holds (last - size, last]
  struct progress {  // of one origin in one cache
    boot_epoch boot;
    std::uint64_t applied = 0, known = 0;
    instant behind_since = never, pulled = instant::min();
  };
  struct life {
    boot_epoch boot;
    bool stopped = false;  // in peace: what it had to say was said
  };
  struct waiting {
    call_id call;
    std::string cache;
    std::uint64_t seq = 0;
    std::set<node_id> missing;
    instant deadline;
  };

  void deliver(const std::string& cache, const std::optional<std::string>& key, node_id origin, std::uint64_t except);
  void apply(node_id from, boot_epoch, const wire::invalidation&);
  progress& of(node_id, boot_epoch, const std::string& cache, std::uint64_t first_seen);
  void pull(node_id, const std::string& cache, progress&);
  void give_up(node_id origin, const std::string& cache, progress&);
  void forget_all(node_id origin, boot_epoch);  ///< every cache; what it says in that life is heard from the beginning
  void forget(node_id origin, const std::string& cache);  ///< the whole cache, for what that origin may have said
  std::vector<node_id> live() const;
  void check_wait(std::map<std::uint64_t, waiting>::iterator&);

  context& ctx_;
  links& links_;
  swim::membership& members_;
  std::map<std::string, local_cache> caches_;
  std::map<std::string, own_ring> own_;
  std::map<std::pair<node_id, std::string>, progress> progress_;
  std::map<node_id, life> lives_;
  std::map<std::uint64_t, waiting> waits_;
  std::uint64_t next_wait_ = 0;
  std::map<std::string, std::set<call_id>> listeners_;
  std::map<std::string, std::uint64_t> sent_;  // messages, by channel
  std::map<std::pair<node_id, std::string>, std::pair<boot_epoch, std::uint64_t>> heard_;
  std::vector<seen> seen_;
  instant wake_ = never;
};

}  // namespace coterie::engine
