// Locks as this node's callers see them (docs/locks.md, docs/consensus.md 2). For each name the node is one owner in
// the replicated queue, whatever the number of its callers: it asks for one grant, and gives that to its callers one
// after the other, by fences that count up. Unused, the grant is kept for the next caller, here or in the client that
// used it last, until somebody else waits for it. A hold is bound to the epoch it was granted under.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/lock_inquiries.hpp"
#include "engine/outbox.hpp"
#include "engine/session.hpp"

namespace coterie::engine {

class lock_calls {
 public:
  lock_calls(context& c, outbox& o, session& s, lock_inquiries& q, const std::optional<replica>& r)
      : ctx_(c), outbox_(o), session_(s), inquiries_(q), replica_(r) {}

  void acquire(call_id, const wire::acquire_lock&, duration patience);
  void release(call_id, const wire::release_lock&);
  /// The client is gone: its wait ends, its hold ends when the last deadline it was told has passed.
  void cancel(call_id);
  /// Of a client that keeps a grant: who uses it.
  void on_told(call_id, const wire::tell_lock&);

  bool on_answer(const outbox::answered&);
  void on_granted(const machine::lock_granted&);
  void on_waited(const machine::lock_waited&);  ///< somebody of this or another node
  void on_renewed();                            ///< the validity was extended
  void on_lapsed();     ///< the session is over: holds are lost, waiters queue again under the next one
  void on_installed();  ///< grants, and who waits for them, may have been missed
  /// No new locks; waiters are refused, holders are told to end, what is unused is given back.
  void begin_stop();
  void resume() { stopping_ = false; }
  /// Nobody holds anything any more.
  bool idle() const { return holds_.empty(); }
  void tick(bool quorum);
  instant next_wake() const;

  // ---- who uses what ----
  struct reply {
    node_id to;
    wire::lock_reply what;
  };
  void on_question(node_id from, wire::lock_question);
  /// Answers to questions that are complete.
  std::vector<reply> take_replies() { return std::exchange(replies_, {}); }
  /// True when it was asked for one of the callers here.
  bool on_inquired(const lock_inquiries::finished&);

 private:
  struct waiter {
    std::string name, label;
    std::optional<instant> until;  // of `wait`
    duration patience{};           // without a quorum
    bool try_only = false, keeps = false;
    std::uint64_t order = 0;  // of arrival
    instant contact;          // last time a quorum was there
    inquiry_id asked;         // of one that only tries: whether the lock is used
  };
  struct hold {
    std::string name, label;
    std::uint64_t fence = 0;
    wall_time since;
    instant told_steady;
    boot_instant told_boot;
    bool gone = false;          // the client is gone or was told to stop
    bool keep = false;          // the client may keep it when its owner is done
    bool wanted = false;        // it was told that it may not any more
    bool asked = false;         // by a sweep, whether it is used
    std::uint64_t idle_at = 0;  // the fence by which it said at the last one that it is not
  };
  struct kept_grant {
    grant_id id;
    std::uint64_t next = 0;  // counts owners: the sequence of the next fence
    call_id user;            // who holds it, or keeps it; zero = nobody
    instant since;           // granted, or unused
    std::uint64_t idle = 0;  // its place in idle_
    wall_time used;
  };
  /// Somebody of another node waits, behind the callers that came before it.
  struct demand {
    std::uint64_t before = 0;
    instant since;
  };
  /// What this node has to do with one name.
  struct line {
    std::map<std::uint64_t, call_id> waiting;  // by order of arrival
    ticket request;                            // of the Lock command until it is answered
    request_seq seq;                           // of the one that waits in the replicated queue
    std::optional<kept_grant> held;
    std::optional<demand> wanted;
    instant not_kept_until = instant::min();
  };
  using lines = std::map<std::string, line, std::less<>>;

  void serve(lines::iterator);
  void serve(const std::vector<std::string>&);
  void hand_out(lines::iterator);
  bool must_pass_on(const line&) const;
  bool may_keep(const line&) const;
  void request(lines::iterator);
  void take(lines::iterator, grant_id);
  void keep(lines::iterator);
  void give_back(lines::iterator);
  void give_back(const std::string& name, grant_id);
  void want(const kept_grant&);
  void try_again(lines::iterator);
  void refuse_held(call_id, const std::string& name);
  void refuse_all(lines::iterator, errc, const std::string& why);
  void remove(call_id);
  void forget(lines::iterator);
  std::vector<std::string> names() const;
  const machine::lock_record* record(const std::string& name) const;
  node_id holder_of(const machine::lock_record&) const;
  void sweep();
  void answer_question(std::size_t);

  context& ctx_;
  outbox& outbox_;
  session& session_;
  lock_inquiries& inquiries_;
  const std::optional<replica>& replica_;
  std::map<call_id, waiter> waiters_;
  std::map<call_id, hold> holds_;
  lines lines_;
  std::map<ticket, std::string> requests_;
  std::map<std::uint64_t, std::string> idle_;  // kept and unused, the longest first
  struct question {
    node_id from;
    wire::lock_reply so_far;
    std::map<call_id, std::string> missing;  // clients that keep a grant
    instant until;
  };
  std::vector<question> questions_;
  std::vector<reply> replies_;
  std::uint64_t last_order_ = 0, last_idle_ = 0;
  instant next_sweep_ = instant::min();
  bool stopping_ = false;
};

}  // namespace coterie::engine
