// Jobs as this node sees them: which runners are here, which claims name our session and have to be started, what the
// runs came to. A run starts only while our lease is valid, and only under the epoch that its claim names
// (docs/jobs.md). That a scheduled time runs at most once rests on it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/outbox.hpp"
#include "engine/session.hpp"

namespace coterie::engine {

class job_calls {
 public:
  job_calls(context& c, outbox& o, session& s) : ctx_(c), outbox_(o), session_(s) {}

  void add_runner(call_id, const wire::add_runner&);
  void finish(call_id, const wire::finish_job&);
  void cancel(call_id);

  bool on_answer(const outbox::answered&);
  void on_claimed(const machine::run_claimed&);
  void on_session();  ///< a new epoch is open: tell it which runners are here
  void on_renewed() { start_pending(); }
  void on_lapsed();
  void on_installed(const machine::machine&);
  void begin_stop();
  void resume() { stopping_ = false; }
  bool idle() const { return running_.empty() && finishing_.empty(); }

 private:
  struct runner {
    call_id stream;
  };
  struct run {
    std::string job;
    call_id stream;
  };
  void start_pending();
  void tell(machine::command_body body);
  void abort(const machine::job_run_record&, std::string why);

  context& ctx_;
  outbox& outbox_;
  session& session_;
  std::map<std::string, runner> runners_;
  std::vector<machine::run_claimed> pending_;  // claimed for us, waiting for a valid lease
  std::map<std::uint64_t, run> running_;       // by fence, of the present epoch
  std::set<std::uint64_t> seen_;               // fences started or refused under the present epoch
  std::map<ticket, call_id> finishing_;
  bool stopping_ = false;
};

}  // namespace coterie::engine
