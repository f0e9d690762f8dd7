// Names, texts, sizes. Looks at one command alone, never at the state.
#include "machine/check.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "machine/due.hpp"

namespace coterie::machine {
namespace {

/// The next code point of valid UTF-8 (no overlong forms, no surrogates), advancing `at`; nullopt for anything else.
std::optional<char32_t> next_point(std::string_view s, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned lead = byte(at);
  if (lead < 0x80) return ++at, static_cast<char32_t>(lead);
  const std::size_t size = lead >= 0xf0 && lead <= 0xf4   ? 4
                           : lead >= 0xe0 && lead <= 0xef ? 3
                           : lead >= 0xc2 && lead <= 0xdf ? 2
                                                          : 0;
  if (size == 0 || s.size() - at < size) return std::nullopt;
  char32_t point = lead & (0xffu >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return std::nullopt;
    point = point << 6 | (byte(at + i) & 0x3fu);
  }
  static constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return std::nullopt;
  at += size;
  return point;
}

/// Number of code points; nullopt when it is not UTF-8.
std::optional<std::size_t> points_of(std::string_view s) {
  std::size_t n = 0;
  for (std::size_t at = 0; at < s.size();) {
    // Most text is ASCII: eight at a time.
    if (std::uint64_t eight = 0; s.size() - at >= sizeof eight) {
      std::memcpy(&eight, s.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof eight;
        n += sizeof eight;
        continue;
      }
    }
    if (!next_point(s, at)) return std::nullopt;
    ++n;
  }
  return n;
}

result<void> check_points(std::string_view what, std::string_view text, std::size_t most) {
  if (text.size() > most * 4)
    return fail(errc::limit, fmt::format("the {} is longer than {} characters: shorten it", what, most));
  const auto points = points_of(text);
  if (!points) return fail(errc::bad_argument, fmt::format("the {} is not UTF-8: encode it", what));
  if (*points > most)
    return fail(errc::limit, fmt::format("the {} has {} characters, at most {} are allowed", what, *points, most));
  return {};
}

result<void> check_label(std::string_view label) { return label.empty() ? result<void>{} : check_name("label", label); }

/// Bytes that a parameter counts for params_bytes; nullopt when its text is not UTF-8.
std::optional<std::size_t> size_of(const job_param& p) {
  const auto* text = std::get_if<std::string>(&p);
  if (text == nullptr) return 8;
  return points_of(*text) ? std::optional(text->size()) : std::nullopt;
}

result<void> check_params(const job_params& params, const limits& max) {
  std::size_t total = 0;
  for (const auto& [name, value] : params) {
    if (const auto r = check_name("parameter", name); !r) return r;
    total += name.size();
    const auto* list = std::get_if<std::vector<job_param>>(&value);
    const auto* first = list != nullptr ? list->data() : &std::get<job_param>(value);
    const std::size_t n = list != nullptr ? list->size() : 1;
    for (std::size_t i = 0; i < n; ++i) {
      const auto size = size_of(first[i]);
      if (!size) return fail(errc::bad_argument, fmt::format("the parameter '{}' is not UTF-8: encode it", name));
      total += *size;
    }
  }
  if (total > max.params_bytes)
    return fail(errc::limit,
                fmt::format("the parameters have {} bytes, at most {} are allowed", total, max.params_bytes));
  return {};
}

result<void> check_config(const job_config& c, const limits& max) {
  if (const auto r = check_name("runner", c.runner); !r) return r;
  if (const auto* s = std::get_if<calendar::cron_schedule>(&c.when); s != nullptr && s->zone != "UTC")
    return fail(errc::bad_argument, "only UTC is built yet");
  if (const auto r = calendar::validate(c.when); !r) return r;
  if (c.on_misfire > misfire_policy::fire_all || c.on_overlap > overlap_policy::allow)
    return fail(errc::bad_argument, "the misfire or overlap policy is unknown");
  if (c.catch_up < milliseconds(0) || c.catch_up > max.catch_up_max)
    return fail(errc::bad_argument, fmt::format("catch-up is not between 0 and {} ms", max.catch_up_max.count()));
  return check_params(c.params, max);
}

struct checker {
  const limits& max;

  result<void> operator()(const add_member& c) const {
    if (!c.id) return fail(errc::bad_argument, "the node id is zero");
    if (c.at.host.size() > 255) return fail(errc::bad_argument, "the host is longer than 255 bytes");
    return c.name.empty() ? result<void>{} : check_name("node", c.name);
  }
  result<void> operator()(const remove_member&) const { return {}; }
  result<void> operator()(const change_view& c) const {
    if (c.failed.size() + c.back.size() > max.members)
      return fail(errc::bad_argument, fmt::format("a view of more than {} members", max.members));
    return {};
  }
  result<void> operator()(const set_read_lease& c) const {
    if (c.lease != milliseconds(0) && (c.lease < max.read_lease_min || c.lease > max.read_lease_max))
      return fail(errc::bad_argument, fmt::format("a read lease is not between {} and {} ms, or 0 for none",
                                                  max.read_lease_min.count(), max.read_lease_max.count()));
    return {};
  }
  result<void> operator()(const open_session& c) const {
    if (!c.node) return fail(errc::bad_argument, "the node id is zero");
    if (c.ttl < max.session_ttl_min || c.ttl > max.session_ttl_max)
      return fail(errc::bad_argument, fmt::format("the session TTL is not between {} and {} ms",
                                                  max.session_ttl_min.count(), max.session_ttl_max.count()));
    return {};
  }
  result<void> operator()(const expire_session&) const { return {}; }
  result<void> operator()(const close_session&) const { return {}; }
  result<void> operator()(const admit_session& c) const {
    if (!c.epoch || !c.node) return fail(errc::bad_argument, "the session or the node is zero");
    return {};
  }
  result<void> operator()(const fence_session&) const { return {}; }
  result<void> operator()(const set_activity&) const { return {}; }
  result<void> operator()(const register_runner& c) const { return check_name("runner", c.runner); }
  result<void> operator()(const unregister_runner& c) const { return check_name("runner", c.runner); }

  result<void> operator()(const lock_acquire& c) const {
    if (const auto r = check_name("lock", c.name); !r) return r;
    return check_label(c.label);
  }
  result<void> operator()(const lock_release& c) const { return check_name("lock", c.name); }
  result<void> operator()(const lock_cancel& c) const { return check_name("lock", c.name); }

  result<void> operator()(const schedule_job& c) const {
    if (const auto r = check_name("job", c.id); !r) return r;
    if (c.due.size() > due_limit(max)) return fail(errc::limit, fmt::format("{} fires are due at once", c.due.size()));
    for (const auto& f : c.due)
      if (f.id != c.id) return fail(errc::bad_argument, "a fire of another job");
    return check_config(c.config, max);
  }
  result<void> operator()(const unschedule_job& c) const { return check_name("job", c.id); }
  result<void> operator()(const assign_job& c) const { return check_name("job", c.id); }
  result<void> operator()(const fire_job& c) const { return check_name("job", c.id); }
  result<void> operator()(const finish_run& c) const {
    if (c.what != outcome::success && c.what != outcome::failed && c.what != outcome::aborted)
      return fail(errc::bad_argument, "a run ends as success, failed or aborted");
    return check_name("job", c.id);
  }

  result<void> operator()(const journal_append& c) const {
    if (const auto r = check_journal(c.journal); !r) return r;
    if (!c.key.empty())
      if (const auto r = check_name("key", c.key); !r) return r;
    if (c.items.empty()) return fail(errc::bad_argument, "there is nothing to append: give at least one entry");
    if (c.items.size() > max.items_per_append)
      return fail(errc::limit,
                  fmt::format("{} entries at once, at most {} are allowed", c.items.size(), max.items_per_append));
    for (const auto& item : c.items) {
      if (const auto r = check_points("type", item.type, max.journal_type_points); !r) return r;
      if (const auto r = check_points("message", item.message, max.journal_message_points); !r) return r;
    }
    return {};
  }
  result<void> operator()(const journal_trim& c) const { return check_journal(c.journal); }
  result<void> operator()(const journal_retention& c) const {
    if (c.keep < milliseconds(1'000) || c.keep > max.journal_keep_max)
      return fail(errc::bad_argument,
                  fmt::format("the retention is not between 1000 and {} ms", max.journal_keep_max.count()));
    return check_journal(c.journal);
  }
};

}  // namespace

result<void> check_name(std::string_view what, std::string_view name) {
  if (name.empty()) return fail(errc::bad_name, fmt::format("the {} name is empty: give 1 to 255 bytes", what));
  if (name.size() > 255)
    return fail(errc::bad_name, fmt::format("the {} name has {} bytes: give 1 to 255", what, name.size()));
  for (std::size_t at = 0; at < name.size();) {
    const auto start = at;
    const auto point = next_point(name, at);
    if (!point || *point < 0x20 || (*point >= 0x7f && *point < 0xa0))
      return fail(errc::bad_name, fmt::format("the {} name is not printable UTF-8 at byte {}", what, start), start);
  }
  return {};
}

result<void> check_journal(std::string_view name) {
  if (name.empty() || name.size() > 255)
    return fail(errc::bad_name, fmt::format("the journal name has {} characters: give 1 to 255", name.size()));
  const auto bad = std::find_if_not(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  });
  if (bad == name.end()) return {};
  const auto at = static_cast<std::size_t>(bad - name.begin());
  return fail(errc::bad_name,
              fmt::format("the journal name has a forbidden character at byte {}: use a-z, 0-9, _ and .", at), at);
}

result<void> check(const command_body& body, const limits& max) { return std::visit(checker{max}, body); }

}  // namespace coterie::machine
