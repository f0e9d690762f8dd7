// Jobs: made, listed, removed, and their past and future times.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <ctime>

#include <fmt/format.h>

#include "commands.hpp"
#include "coterie/jobs.hpp"
#include "output.hpp"

namespace coterie::command {

namespace {

using request = wire::add_job;

void check_zone(const std::string& zone) {
  if (zone != "UTC") throw command_error(wrong_usage, fmt::format("--zone {}: only UTC is built yet", zone));
}

std::string words(const machine::job_config& c) {
  const auto& w = c.when;
  if (const auto* i = std::get_if<1>(&w)) return "every " + human(i->every);
  if (const auto* x = std::get_if<0>(&w)) return x->expression;
  const auto& o = std::get<2>(w);
  return o.at ? "at " + human(*o.at) : "once";
}

json to_json(const wire::job_info& i) {
  const auto& j = i.job;
  const auto* cron = std::get_if<0>(&j.config.when);
  return {{"id", j.id},
          {"runner", j.config.runner},
          {"schedule", words(j.config)},
          {"zone", cron != nullptr ? json(cron->zone) : json(nullptr)},
          {"mode", "once_per_cluster"},
          {"owner", or_null(i.owner)},
          {"next", json_of(j.next)},
          {"last", json_of(j.last)},
          {"last_outcome", j.last_outcome ? json(machine::to_string(*j.last_outcome)) : json(nullptr)},
          {"paused", false},
          {"runnable", i.runnable},
          {"version", j.version}};
}

/// The expression again, with a mark under the part that is wrong.
[[noreturn]] void wrong_cron(const std::string& expression, std::size_t at, std::string what) {
  at = std::min(at, expression.size());
  std::size_t n = 0;
  while (at + n < expression.size() && expression[at + n] != ' ' && expression[at + n] != ',') ++n;
  if (const auto p = what.find("': "); what.starts_with("cron '") && p != std::string::npos) what.erase(0, p + 3);
  const auto head = std::string("coterie: cron '");
  throw command_error(wrong_usage,
                      fmt::format("cron '{}': {}\n{}{}", expression, what, std::string(head.size() + at, ' '),
                                  std::string(std::max<std::size_t>(n, 1), '^')));
}

std::optional<wall_time> next_time(const std::string& expression, wall_time after) {
  try {
    return next_run(cron_schedule{expression, "UTC"}, after);
  } catch (const cron_error& e) {
    std::string what = e.what();
    if (const auto tail = ": " + e.code().message(); what.ends_with(tail)) what.resize(what.size() - tail.size());
    wrong_cron(expression, e.position(), std::move(what));
  } catch (const error& e) {
    throw command_error(wrong_usage, e.what());
  }
}

machine::job_param value_of(const std::string& s) {
  if (s == "true" || s == "false") return s == "true";
  std::int64_t n = 0;
  const auto r = std::from_chars(s.data(), s.data() + s.size(), n);
  if (r.ec == std::errc{} && r.ptr == s.data() + s.size()) return n;
  return s;
}

machine::job_config config_of(const job_add_options& o) {
  check_zone(o.zone);
  machine::job_config c;
  c.runner = o.runner;
  if (!o.cron.empty() + !o.every.empty() + !o.at.empty() != 1)
    throw command_error(wrong_usage, "a job needs one of --cron, --every and --at");
  if (!o.cron.empty()) {
    next_time(o.cron, wall_now());
    c.when.emplace<0>();
    std::get<0>(c.when).expression = o.cron;
  } else if (!o.every.empty()) {
    const auto d = parse_duration(o.every);
    if (!d || d->count() < 100)
      throw command_error(wrong_usage, fmt::format("--every {}: a duration of at least 100 ms, as 5s or 10m", o.every));
    c.when.emplace<1>();
    std::get<1>(c.when).every = *d;
  } else {
    const auto t = parse_rfc3339(o.at);
    if (!t) throw command_error(wrong_usage, fmt::format("--at {}: a time as 2026-11-21T02:30:00Z", o.at));
    c.when.emplace<2>();
    std::get<2>(c.when).at = *t;
  }
  for (const auto& p : o.params) {
    const auto eq = p.find('=');
    if (eq == 0 || eq == std::string::npos)
      throw command_error(wrong_usage, fmt::format("--param {}: write it as KEY=VALUE", p));
    c.params[p.substr(0, eq)] = value_of(p.substr(eq + 1));
  }
  c.on_misfire = o.misfire == "skip"       ? machine::misfire_policy::skip
                 : o.misfire == "fire_all" ? machine::misfire_policy::fire_all
                                           : machine::misfire_policy::fire_once;
  c.on_overlap = o.overlap == "allow" ? machine::overlap_policy::allow : machine::overlap_policy::skip;
  c.rerun_if_lost = o.rerun_if_lost;
  return c;
}

}  // namespace

int job_add(const common& c, const job_add_options& o) {
  machine::schedule_job job;
  job.id = o.id;
  job.config = config_of(o);
  job.replace = o.replace;
  auto node = c.connect();
  const auto added = node.ask<wire::job_added>(request{std::move(job)}, c.patience(), true);
  wire::job_info info;
  // The leader assigns an owner just after.
  for (int i = 0; i < 5 && info.owner.empty(); ++i) {
    if (i > 0) ::nanosleep(std::array{timespec{0, 50'000'000}}.data(), nullptr);
    try {
      auto l = node.ask<wire::job_list>(wire::list_jobs{added.id, ""}, c.patience());
      if (!l.jobs.empty()) info = std::move(l.jobs.front());
    } catch (const command_error&) {  // it is added, which counts
      break;
    }
    if (!info.runnable) break;
  }
  if (c.as_json) {
    auto j = to_json(info);
    j["changed"] = added.changed;
    print(j);
    return ok;
  }
  std::string text = added.id + ": ";
  if (!added.next)
    text += "never runs again";
  else
    text += fmt::format("next {} UTC (in {})", human(*added.next), human(*added.next - wall_now()));
  if (added.then) text += fmt::format(", then {}", human(*added.then));
  text += !info.owner.empty() ? "; owner " + info.owner
          : info.runnable     ? "; owner not assigned yet"
                              : fmt::format("; no active node has runner '{}' yet", o.runner);
  if (!added.changed)
    text += info.job.config == config_of(o) ? " (as before)" : " (exists with other settings and was kept: --replace)";
  print_text(text + "\n");
  return ok;
}

int job_list(const common& c, const std::string& id, const stale_options& o) {
  const auto l = c.connect().ask<wire::job_list>(wire::list_jobs{id, "", o.wanted()}, c.patience());
  if (c.as_json) {
    json r = json::array();
    for (const auto& j : l.jobs) r.push_back(to_json(j));
    if (id.empty()) {
      print_list("jobs", std::move(r), l.as_of);
    } else {
      if (l.as_of) r.front()["as_of"] = to_json(*l.as_of);
      print(r.front());
    }
    return ok;
  }
  table t({"JOB", "RUNNER", "SCHEDULE", "OWNER", "NEXT", "LAST", "OUTCOME"});
  for (const auto& i : l.jobs) {
    const std::string outcome = i.job.last_outcome ? machine::to_string(*i.job.last_outcome) : "-";
    t.add({i.job.id, i.job.config.runner, words(i.job.config),
           !i.owner.empty() ? i.owner
           : i.runnable     ? "-"
                            : paint(colour::yellow, "no runner"),
           i.job.next ? human(*i.job.next) : "-", i.job.last ? human(*i.job.last) : "-",
           paint(colour_of(outcome), outcome)});
  }
  print_text(t.text() + (l.as_of ? words(*l.as_of) + "\n" : ""));
  return ok;
}

int job_remove(const common& c, const std::string& id) {
  c.connect().ask(wire::remove_job{id}, c.patience(), true);
  if (c.as_json)
    print(json{{"id", id}, {"removed", true}});
  else
    print_text(fmt::format("{} is removed\n", id));
  return ok;
}

int job_history(const common& c, const std::string& id, std::uint32_t max, const stale_options& o) {
  const auto l = c.connect().ask<wire::run_list>(wire::job_history{id, max, o.wanted()}, c.patience());
  if (c.as_json) {
    json r = json::array();
    for (const auto& [run, node] : l.runs)
      r.push_back({{"scheduled", rfc3339(run.scheduled)},
                   {"started", json_of(run.started)},
                   {"took_ms", run.took ? json(run.took->count()) : json(nullptr)},
                   {"outcome", run.what ? json(machine::to_string(*run.what)) : json(nullptr)},
                   {"attempt", run.attempt},
                   {"coalesced", run.coalesced},
                   {"fence", fmt::format("{}", run.fence)},
                   {"node", or_null(node)},
                   {"message", run.message}});
    print_list("runs", std::move(r), l.as_of);
    return ok;
  }
  table t({"SCHEDULED", "STARTED", "TOOK", "NODE", "OUTCOME", "MESSAGE"});
  for (const auto& [run, node] : l.runs) {
    const std::string outcome = run.what ? machine::to_string(*run.what) : "running";
    t.add({human(run.scheduled), run.started ? "+" + human(*run.started - run.scheduled) : "-",
           run.took && run.started ? human(*run.took) : "-", node.empty() ? "-" : node,
           paint(colour_of(outcome), outcome), run.message});
  }
  print_text(t.text() + (l.as_of ? words(*l.as_of) + "\n" : ""));
  return ok;
}

int job_next(const common& c, const std::string& expression, const std::string& zone, unsigned count) {
  check_zone(zone);
  json all = json::array();
  auto t = wall_now();
  for (unsigned i = 0; i < count; ++i) {
    const auto next = next_time(expression, t);
    if (!next) break;
    t = *next;
    if (c.as_json)
      all.push_back(rfc3339(t));
    else
      print_text(human(t) + " UTC\n");
  }
  if (c.as_json) print(all);
  return ok;
}

}  // namespace coterie::command
