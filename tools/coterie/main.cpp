// The words of the command line: which command, with which options. Knows no node.
#include <algorithm>
#include <array>
#include <csignal>
#include <functional>
#include <iostream>
#include <limits>
#include <string_view>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/version.hpp"
#include "commands.hpp"
#include "output.hpp"

namespace coterie::command {

namespace {

using action = std::function<int()>;

/// Commands of the documentation that are not there yet: refused by name, so that nobody looks for a typing error.
const std::array<std::string_view, 18> not_built = {
    "activate",         "passivate",  "kv",           "key",          "config",      "plugin",
    "bench invalidate", "doctor",     "lock break",   "job pause",    "job resume",  "job run",
    "job cancel",       "job import", "journal list", "journal info", "cache stats", "cache clear"};

void refuse_what_is_not_built(const std::vector<std::string>& words) {
  std::vector<std::string> plain;
  for (std::size_t i = 0; i < words.size() && plain.size() < 2; ++i) {
    if (words[i] == "--node" || words[i] == "--timeout")
      ++i;
    else if (!words[i].starts_with('-'))
      plain.push_back(words[i]);
  }
  plain.resize(2);
  for (const auto name : not_built)
    if (name == plain[0] || name == plain[0] + " " + plain[1])
      throw command_error(wrong_usage, fmt::format("{} is not built yet", name));
}

/// A duration option; the text of the default is the caller's.
CLI::Option* add_duration(CLI::App* app, const std::string& name, std::function<void(ms)> set,
                          const std::string& help) {
  return app
      ->add_option_function<std::string>(
          name,
          [set = std::move(set), name](const std::string& s) {
            const auto d = parse_duration(s);
            if (!d)
              throw CLI::ValidationError(name, fmt::format("'{}' is not a duration: write 500ms, 5s, 10m or 1h", s));
            set(*d);
          },
          help)
      ->type_name("DURATION");
}

void refuse(CLI::App* app, const std::string& name, bool has_value, const std::string& why) {
  const auto error = [name, why] { throw command_error(wrong_usage, fmt::format("{}: {}", name, why)); };
  if (has_value)
    app->add_option_function<std::string>(
           name, [error](const std::string&) { error(); }, "not built yet")
        ->group("");
  else
    app->add_flag_function(
           name, [error](std::int64_t) { error(); }, "not built yet")
        ->group("");
}

/// The whole grammar. What was chosen is in `chosen` after parsing.
class grammar {
 public:
  explicit grammar(std::vector<std::string> behind_dashes) : behind_(std::move(behind_dashes)) {
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.set_version_flag("--version", std::string("coterie ") + coterie_version);
    app.get_formatter()->column_width(34);
    app.add_option("--node", c.node,
                   "which node: its name, control socket, directory or address [the only one, or COTERIE_NODE]");
    app.add_flag("--json", c.as_json, "print one JSON document, or one a line for streams");
    add_duration(
        &app, "--timeout", [this](ms d) { c.timeout = d; }, "how long to wait for an answer [5s]");
    nodes();
    cluster();
    benches();
    locks();
    jobs();
    journals();
    others();
  }

  CLI::App app{"coterie: one cluster out of identical processes"};
  common c;
  action chosen;

 private:
  CLI::App* add(CLI::App* to, const std::string& name, const std::string& help, action a) {
    auto* s = to->add_subcommand(name, help);
    s->fallthrough();
    s->callback([this, a = std::move(a)] { chosen = a; });
    return s;
  }
  CLI::App* add_group(const std::string& name, const std::string& help) {
    auto* g = app.add_subcommand(name, help);
    g->fallthrough();
    g->require_subcommand(1);
    return g;
  }
  /// Of a read that can do without a majority.
  void add_stale(CLI::App* to) {
    to->add_flag("--stale", stale_.stale, "as this node has it, without a majority; says as of when that is");
    add_duration(
        to, "--max-age", [this](ms d) { stale_.max_age = d; }, "so, but fail when that may be older");
  }
  std::vector<std::string> command_of(const char* what) const {
    if (behind_.empty()) throw command_error(wrong_usage, fmt::format("{} needs a command: write it after --", what));
    return behind_;
  }

  void nodes() {
    auto* r = add(&app, "run", "run a node in the foreground until SIGTERM or SIGINT", [this] { return start_run(); });
    r->add_option("--config", run_.config, "a TOML file with the same names, and [runner.NAME] tables");
    r->add_option("--name", run_.name, "what people call the node [the machine's name]");
    r->add_option("--bind", run_.bind, "HOST or HOST:PORT to listen on [127.0.0.1:7400]");
    r->add_option("--advertise", run_.advertise, "where other nodes reach it [the bind address]");
    r->add_option("--seeds", run_.seeds, "the first members, the same list on every node")->delimiter(',');
    r->add_option("--data", run_.data, "the directory of this node's data");
    r->add_option("--cluster", run_.cluster, "name of the cluster")->capture_default_str();
    add_duration(
        r, "--session-ttl", [this](ms d) { run_.session_ttl = d; }, "how long locks outlive a node that is gone [5s]");
    r->add_option("--tag", tags_, "k=v, shown to all members; any number of times");
    r->add_option("--bootstrap", bootstrap_, "'single': may be a cluster by itself when there is none")
        ->check(CLI::IsMember({"single"}));
    r->add_flag("--rejoin", run_.rejoin, "come back with a new identity after leaving, being removed, or losing data");
    r->add_flag("--gossip-only", run_.gossip_only, "membership and messages without the log; needs no directory");
    r->add_flag("--insecure", run_.insecure, "listen beyond loopback without encryption");
    r->add_option("--log", run_.log_level, "least level to log")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    const auto advanced = [&](const char* name, unsigned& to, const char* help) {
      r->add_option(name, to, help)->capture_default_str()->group("How the log is spread; the same on all nodes");
    };
    advanced("--max-voters", run_.max_voters, "1, 3, 5 or 7 vote, when so many are there");
    advanced("--standbys", run_.standbys, "so many more are kept ready to vote");
    advanced("--relay-fan-out", run_.relay_fan_out, "so many of the others are fed by one node");
    for (const auto* o : {"--key", "--http", "--shared-home", "--tls-cert", "--tls-key", "--tls-ca"})
      refuse(r, o, true, "not built yet");
    refuse(r, "--passive", false, "not built yet");
    run_command_ = r;
    auto* d = add(&app, "dev", "try it: a small cluster on loopback that shows a job, a lock, a journal and a cache",
                  [this] { return dev(c, dev_); });
    d->add_option("--nodes", dev_.nodes, "how many")->check(CLI::Range(1, 9))->capture_default_str();
    d->add_option("--data", dev_.data, "keep the nodes' data here [a temporary directory, removed at the end]");
    d->add_flag("--once", dev_.once, "end with 0 as soon as each was observed on another node (at most 60 s)");
  }

  int start_run() {
    for (const auto& t : tags_) {
      auto [k, v] = parse_tag("--tag", t);
      run_.tags[k] = std::move(v);
    }
    run_.bootstrap_single = bootstrap_ == "single";
    if (!run_.config.empty()) {
      std::vector<std::string> given;
      for (const auto* o : run_command_->get_options())
        if (o->count() > 0) given.push_back(o->get_name().substr(2));
      read_config(run_, given);
    }
    return run(c, run_);
  }

  void cluster() {
    auto* m = add(&app, "members", "who is in the cluster", [this] { return members(c, watch_, wait_); });
    m->add_flag("--watch", watch_, "again every second");
    m->add_option("--wait", wait_, "until the cluster is formed and N members are alive in every member's view");
    add(&app, "status", "this node and its cluster, with warnings and their remedy", [this] { return show_status(c); });
    auto* e = add(&app, "events", "a stream of what happens", [this] { return events(c, since_); });
    e->add_option("--since", since_, "after this index")->capture_default_str();
    add(&app, "why", "the evidence behind the last changes of a member, as this node saw them",
        [this] { return why(c, name_); })
        ->add_option("NODE", name_, "its name, or the beginning of its id")
        ->required();
    add(&app, "rtt", "the round trip between two members, estimated, and measured where this node is one of them",
        [this] { return rtt(c, names_); })
        ->add_option("NODES", names_, "[A] B: from this node unless A is given")
        ->expected(1, 2)
        ->option_text("TEXT [TEXT]")
        ->required();
    add(&app, "remove", "give up the place of a member that is gone for good",
        [this] { return remove_member(c, name_); })
        ->add_option("NODE", name_, "its name, or the beginning of its id")
        ->required();
    add(&app, "leave", "give up the node's place in the cluster, for good", [this] { return leave(c); });
    auto* t = add(&app, "tag", "the node's tags; what is set here lasts until the node ends",
                  [this] { return tag(c, tag_); });
    t->add_option("TAGS", tag_.set, "KEY=VALUE, any number");
    t->add_option("--remove", tag_.remove, "a KEY; any number of times")->allow_extra_args(false);
    auto* g = add_group("cluster", "what keeps the cluster together");
    auto* i = add(g, "init", "form a cluster that can't form by itself, when you know what it can't",
                  [this] { return cluster_init(c, init_); });
    i->add_option("--without", init_.without,
                  "go on without these seeds, of which you know that they never return with their data and that all "
                  "others still have theirs; at one of the others")
        ->type_name("SEED,...")
        ->delimiter(',')
        ->allow_extra_args(false);
    i->add_option("--discard", init_.discard,
                  "erase this accepted record, of which you know that it never became a cluster; at each node that "
                  "holds it (see status)")
        ->type_name("RECORD");
    add(g, "voters", "who votes, and who may", [this] { return cluster_voters(c); });
    add(g, "transfer", "let another voter lead", [this] { return cluster_transfer(c, name_); })
        ->add_option("NODE", name_)
        ->required();
    add(g, "read-lease", "let leaders read without a quorum, by leases of 50ms to 1s, or not (off); shows what is set",
        [this] { return cluster_read_lease(c, read_lease_); })
        ->add_option_function<std::string>("LEASE", [this](const std::string& s) {
          read_lease_ = s == "off" ? ms(0) : parse_duration(s);
          if (!read_lease_)
            throw CLI::ValidationError("LEASE", fmt::format("'{}' is no lease: write 500ms, or off", s));
        });
    auto* s =
        add(g, "snapshot", "the whole state of the cluster as a file", [this] { return cluster_snapshot(c, backup_); });
    s->add_option("FILE", backup_.file, "a new file")->required();
    s->add_flag("--stale", backup_.stale, "as this node has it, without a majority");
    const auto add_new_home = [&](CLI::App* r) {
      r->add_option("--data", backup_.data, "the directory of the new cluster's first node")->required();
      r->add_option("--name", backup_.name, "what people call it")->required();
      r->add_option("--bind", backup_.bind, "HOST:PORT where it will be reached")->capture_default_str();
      r->add_option("--cluster", backup_.cluster, "name of the new cluster [that of the old one]");
    };
    auto* r = add(g, "restore", "a new cluster from a snapshot", [this] { return cluster_restore(c, backup_); });
    r->add_option("FILE", backup_.file)->required();
    add_new_home(r);
    auto* x = add(g, "recover", "a new cluster from one member's directory, when the majority is lost for good",
                  [this] { return cluster_recover(c, backup_); });
    x->add_option("--from", backup_.from, "the directory of a member that is stopped")->required();
    add_new_home(x);
    add(&app, "home", "the node's directory", [this] { return home(c); });
  }

  void locks() {
    auto* g = add_group("lock", "locks of the cluster");
    add_stale(add(g, "list", "locks that are held", [this] { return lock_list(c, "", stale_); }));
    auto* s = add(g, "show", "one lock", [this] { return lock_list(c, name_, stale_); });
    s->add_option("NAME", name_)->required();
    add_stale(s);
    auto* e = add(g, "exec", "hold a lock while a command runs: lock exec NAME -- CMD...", [this] {
      exec_.command = command_of("lock exec");
      return lock_exec(c, exec_);
    });
    e->add_option("NAME", exec_.name)->required();
    add_duration(
        e, "--wait", [this](ms d) { exec_.wait = d; }, "wait for the lock at most so long, 0 = one try [for ever]");
    refuse(e, "--shared", false, "shared locks are not built yet");
  }

  void jobs() {
    auto* g = add_group("job", "jobs of the cluster");
    auto* a = add(g, "add", "make a job", [this] { return job_add(c, job_); });
    a->add_option("ID", job_.id)->required();
    a->add_option("--cron", job_.cron, "'second minute hour day-of-month month day-of-week [year]'");
    a->add_option("--every", job_.every, "an interval, as 10m");
    a->add_option("--at", job_.at, "one time, as 2026-11-21T02:30:00Z");
    a->add_option("--runner", job_.runner, "what runs it")->required();
    a->add_option("--zone", job_.zone, "time zone of --cron; only UTC is built yet")->capture_default_str();
    a->add_option("--param", job_.params, "k=v for the runner; any number of times");
    a->add_option("--misfire", job_.misfire, "missed times")
        ->check(CLI::IsMember({"fire_once", "skip", "fire_all"}))
        ->capture_default_str();
    a->add_option("--overlap", job_.overlap, "a time while the run before goes on")
        ->check(CLI::IsMember({"skip", "allow"}))
        ->capture_default_str();
    a->add_flag("--replace", job_.replace, "when there is a job of this id");
    a->add_flag("--rerun-if-lost", job_.rerun_if_lost, "start a run again whose node died");
    refuse(a, "--local", false, "local jobs are not built yet");
    refuse(a, "--jitter", true, "not built yet");
    add_stale(add(g, "list", "all jobs", [this] { return job_list(c, "", stale_); }));
    auto* s = add(g, "show", "one job", [this] { return job_list(c, name_, stale_); });
    s->add_option("ID", name_)->required();
    add_stale(s);
    add(g, "remove", "end a job for good", [this] { return job_remove(c, name_); })
        ->add_option("ID", name_)
        ->required();
    auto* h =
        add(g, "history", "runs of a job, the newest first", [this] { return job_history(c, name_, max_, stale_); });
    h->add_option("ID", name_)->required();
    add_stale(h);
    h->add_option("--max", max_, "so many")->check(CLI::Range(1, 1000))->capture_default_str();
    auto* n = add(g, "next", "the next times of a cron expression; asks no node",
                  [this] { return job_next(c, name_, zone_, count_); });
    n->add_option("EXPR", name_)->required();
    n->add_option("--zone", zone_, "only UTC is built yet")->capture_default_str();
    n->add_option("--count", count_, "so many")->check(CLI::Range(1, 100'000))->capture_default_str();
  }

  void journals() {
    auto* g = add_group("journal", "journals of the cluster");
    auto* a = add(g, "append", "add an entry, durable on a majority; prints its id",
                  [this] { return journal_append(c, name_, type_, text_, key_); });
    a->add_option("NAME", name_)->required();
    a->add_option("TYPE", type_)->required();
    a->add_option("MESSAGE", text_, "the message, or - for one entry a line of standard input")->required();
    a->add_option("--key", key_, "makes repeating it safe");
    auto* p =
        add(g, "peek", "what this node has still to process", [this] { return journal_peek(c, name_, max_, stale_); });
    p->add_option("NAME", name_)->required();
    add_stale(p);
    p->add_option("--max", max_, "so many")->check(CLI::Range(1, 10'000))->capture_default_str();
    auto* x = add(g, "process", "give entries to a command as JSON lines: journal process NAME -- CMD...", [this] {
      process_.command = command_of("journal process");
      return journal_process(c, process_);
    });
    x->add_option("NAME", process_.name)->required();
    x->add_option("--max", process_.max, "entries a batch")->check(CLI::Range(1, 10'000))->capture_default_str();
    x->add_flag("--follow", process_.follow, "go on with what comes");
    auto* n = add(g, "count", "entries that this node has still to process",
                  [this] { return journal_count(c, name_, stale_); });
    n->add_option("NAME", name_)->required();
    add_stale(n);
    add(g, "reset", "skip what is there", [this] { return journal_reset(c, name_); })
        ->add_option("NAME", name_)
        ->required();
  }

  void benches() {
    auto* g = add_group("bench", "measure a throw-away cluster on this machine, and the machine's floor");
    const auto add_bench = [&](const std::string& name, const std::string& help) {
      auto* b = add(g, name, help, [this, name] {
        bench_.what = name;
        return bench(c, bench_);
      });
      b->add_option("--data", bench_.data, "keep the nodes' data here [a temporary directory, removed at the end]");
      b->add_option("--size", bench_.size, "bytes of an entry")->check(CLI::Range(1, 65'536))->capture_default_str();
      return b;
    };
    const auto add_lasts = [](CLI::App* b, ms& to, const std::string& help) {
      add_duration(
          b, "--lasts", [&to](ms d) { to = d; }, help);
    };
    auto* reads = add_bench("read", "linearizable reads at a follower");
    reads->add_option("--nodes", bench_.nodes, "how many")->check(CLI::Range(2, 9))->capture_default_str();
    add_duration(
        reads, "--read-lease", [this](ms d) { bench_.read_lease = d; },
        "at the leader as well, and all again with read leases of that length");
    for (auto* b : {add_bench("append", "durable appends to a journal, acknowledged by a majority"), reads}) {
      b->add_option("--in-flight", bench_.in_flight, "requests under way at a time, several with commas")
          ->delimiter(',')
          ->check(CLI::Range(1, 4'096))
          ->capture_default_str();
      add_lasts(b, bench_.lasts, "how long each is measured [5s]");
      b->add_flag("--host", bench_.hosted, "by threads of a host with a node in its process, instead of a client");
    }
    add_bench("failover", "from a leader's end (killed, stopped, asked) to the next acknowledged append")
        ->add_option("--times", bench_.times, "how often each")
        ->check(CLI::Range(1, 1'000))
        ->capture_default_str();
    auto* lock = add_bench("lock", "a lock taken and given back by one client, then wanted by several on all nodes");
    add_lasts(lock, bench_.lasts, "how long each is measured [5s]");
    lock->add_option("--clients", bench_.contenders, "how many want it")
        ->check(CLI::Range(1, 1'000))
        ->capture_default_str();
    add_bench("grow", "from one voter to three, to five, and back, while a client appends");
    auto* catchup = add_bench("catchup", "an empty node joins a cluster with state, while a client appends");
    add_lasts(catchup, bench_.lasts, "how long appends are measured before [5s]");
    catchup->add_option("--state", bench_.state_mib, "MiB of journal entries that it has to get")
        ->check(CLI::Range(1, 65'536))
        ->capture_default_str();
    auto* m = add(g, "membership", "agents of gossip alone: how soon they know of each other, and what they cost",
                  [this] { return bench_membership(c, membership_); });
    m->add_option("--nodes", membership_.nodes, "how many agents")->check(CLI::Range(2, 500))->capture_default_str();
    m->add_option("--peer", membership_.peer, "measure as many agents of this system too: serf")
        ->check(CLI::IsMember({"serf"}));
    m->add_option("--rounds", membership_.rounds, "starts, kills and stops; the median counts")
        ->check(CLI::Range(1, 1'000))
        ->capture_default_str();
    add_lasts(m, membership_.lasts, "how long they are watched while nothing happens [20s]");
  }

  void others() {
    auto* g = add_group("cache", "caches of the processes");
    add(g, "list", "caches of this node", [this] { return cache_list(c); });
    auto* i = add(g, "invalidate", "remove a key, or everything, on all live nodes", [this] {
      return cache_invalidate(c, name_, has_key_->count() > 0 ? std::optional(key_) : std::nullopt);
    });
    i->add_option("NAME", name_)->required();
    has_key_ = i->add_option("KEY", key_);
    auto* s = add(&app, "send", "a message to whoever listens on the other nodes",
                  [this] { return send_message(c, name_, text_); });
    s->add_option("CHANNEL", name_)->required();
    s->add_option("BODY", text_)->required();
    add(&app, "listen", "messages from other nodes", [this] { return listen_to(c, name_); })
        ->add_option("CHANNEL", name_)
        ->required();
  }

  const std::vector<std::string> behind_;
  run_options run_;
  CLI::App* run_command_ = nullptr;
  CLI::Option* has_key_ = nullptr;
  dev_options dev_;
  bench_options bench_;
  bench_membership_options membership_;
  backup_options backup_;
  cluster_init_options init_;
  tag_options tag_;
  lock_exec_options exec_;
  job_add_options job_;
  stale_options stale_;
  journal_process_options process_;
  std::string name_, type_, text_, key_, zone_ = "UTC", bootstrap_;
  std::vector<std::string> names_;
  std::vector<std::string> tags_;
  std::optional<std::uint32_t> wait_;
  std::optional<ms> read_lease_;
  std::uint64_t since_ = 0;
  std::uint32_t max_ = 10;
  unsigned count_ = 5;
  bool watch_ = false;
};

int start(std::vector<std::string> words) {
  // What stands behind -- is the user's own command, in the two commands that take one.
  std::vector<std::string> behind;
  const auto dashes = std::find(words.begin(), words.end(), "--");
  const auto before = [&](const char* w) { return std::find(words.begin(), dashes, w) != dashes; };
  if (dashes != words.end() && (before("exec") || before("process"))) {
    behind.assign(dashes + 1, words.end());
    words.erase(dashes, words.end());
  }
  refuse_what_is_not_built(words);
  grammar g(std::move(behind));
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    g.app.parse(words);
  } catch (const CLI::Success& e) {
    return g.app.exit(e) == 0 ? ok : failed;
  } catch (const CLI::ParseError& e) {
    complain(fmt::format("{}: see coterie --help, or coterie COMMAND --help", e.what()));
    return wrong_usage;
  }
  if (!g.chosen) {
    print_text(g.app.help());
    return ok;
  }
  return g.chosen();
}

}  // namespace
}  // namespace coterie::command

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return coterie::command::start({argv + 1, argv + argc});
  } catch (const coterie::command::command_error& e) {
    coterie::command::complain(e.what());
    return e.exit_status();
  } catch (const std::exception& e) {
    coterie::command::complain(e.what());
    return coterie::command::failed;
  }
}
