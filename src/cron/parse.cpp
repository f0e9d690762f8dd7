// The grammar of cron expressions (docs/jobs.md, Schedules): text to fields, or a failure that points at the
// part. Knows nothing of calendars.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cron/fields.hpp"

namespace coterie::calendar {
namespace {

enum field_index { second, minute, hour, day_of_month, month, day_of_week, year, field_count };

struct field_kind {
  std::string_view name;
  int min, max;
  std::string_view allowed;  ///< the range as a person reads it
  std::string_view names;    ///< three letters for each value, from `min` on
};

constexpr std::array<field_kind, field_count> kinds{{
    {"second", 0, 59, "0-59", ""},
    {"minute", 0, 59, "0-59", ""},
    {"hour", 0, 23, "0-23", ""},
    {"day of month", 1, 31, "1-31", ""},
    {"month", 1, 12, "1-12 or JAN-DEC", "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
    {"day of week", 1, 7, "1-7 or SUN-SAT", "SUNMONTUEWEDTHUFRISAT"},
    {"year", first_year, last_year, "1970-2199", ""},
}};
static_assert(first_year == 1970 && last_year == 2199);

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
constexpr bool is_letter(char c) { return upper(c) >= 'A' && upper(c) <= 'Z'; }

/// Text for a message: short and printable.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 32));
  for (char& c : out) c = c >= ' ' && c <= '~' ? c : '?';
  return text.size() > 32 ? out + "..." : out;
}

/// A part of the expression, by byte positions.
struct piece {
  std::size_t begin, end;
};

/// Parses one field. Every function that returns bool says false after it has recorded the failure.
class field_parser {
 public:
  field_parser(std::string_view all, piece part, const field_kind& kind, fields& out)
      : all_(all), at_(part.begin), part_(part), kind_(kind), out_(out) {}

  bool parse() {
    if (has_question_mark() && text(part_) == "?") return everything(), true;
    for (;;) {
      if (!item()) return false;
      if (at_ == part_.end) return true;
      if (!eat(',')) return unexpected();
    }
  }
  /// Bit i: the value kind.min + i.
  const std::bitset<last_year - first_year + 1>& values() const { return values_; }
  failure error() && { return std::move(error_); }

 private:
  bool is(field_index i) const { return &kind_ == &kinds[i]; }
  bool has_question_mark() const { return is(day_of_month) || is(day_of_week); }
  int size() const { return kind_.max - kind_.min + 1; }
  void everything() { fill(kind_.min, kind_.max, 1); }
  std::string_view text(piece p) const { return all_.substr(p.begin, p.end - p.begin); }

  bool item() {
    if (is(day_of_month) && eat('L')) return last_day();
    int low = kind_.min, high = kind_.max, step = 1;
    const std::size_t begin = at_;
    bool open = true;  // without an end of its own: a step goes up to the field's largest value
    if (!eat('*')) {
      if (!value(low)) return false;
      if (is(day_of_month) && eat('W')) return set(out_.near_days, low);
      if (is(day_of_week) && eat('#')) {
        int k = 0;
        return number(k, "week", 1, 5, "1-5") && set(out_.nth_weekday[static_cast<std::size_t>(k) - 1], low - 1);
      }
      if (is(day_of_week) && eat('L')) return set(out_.last_weekday, low - 1);
      if (eat('-')) {
        open = false;
        if (!value(high)) return false;
        if (is(year) && high < low) {
          return reject(fmt::format("year range {} runs backwards", shown(text({begin, at_}))), {begin, at_});
        }
      }
    }
    if (eat('/')) {
      if (!number(step, "step", 1, size() - 1, fmt::format("1-{}", size() - 1))) return false;
    } else if (open && all_[begin] != '*') {
      high = low;
    }
    return fill(low, high, step);
  }

  /// After the L of L, L-n, LW and L-nW.
  bool last_day() {
    int before = 0;
    if (eat('-') && !number(before, "offset", 0, 30, "0-30")) return false;
    return set(eat('W') ? out_.last_near : out_.last_days, before);
  }

  /// A number or a name in the field's range; in day of week L alone is Saturday.
  bool value(int& out) {
    if (at_ == part_.end || !is_letter(all_[at_])) return number(out, kind_.name, kind_.min, kind_.max, kind_.allowed);
    piece name{at_, at_};
    while (name.end < part_.end && is_letter(all_[name.end])) ++name.end;
    const std::size_t length = name.end - name.begin;
    if (is(day_of_week) && length == 1 && eat('L')) return out = kind_.max, true;
    const bool with_suffix = is(day_of_week) && length == 4 && upper(all_[name.end - 1]) == 'L';
    if (length == 3 || with_suffix) {
      for (std::size_t i = 0; i < kind_.names.size(); i += 3) {
        if (!same(kind_.names.substr(i, 3), name.begin)) continue;
        at_ += 3;
        return out = kind_.min + static_cast<int>(i / 3), true;
      }
    }
    return reject(fmt::format("{} '{}' is not {}", kind_.name, shown(text(name)), kind_.allowed), name);
  }

  bool number(int& out, std::string_view what, int min, int max, std::string_view allowed) {
    piece digits{at_, at_};
    int n = 0;
    while (digits.end < part_.end && is_digit(all_[digits.end]))
      n = std::min(n * 10 + (all_[digits.end++] - '0'), 1 << 20);
    if (digits.begin == digits.end) return missing(what);
    if (n < min || n > max) return reject(fmt::format("{} {} is not {}", what, shown(text(digits)), allowed), digits);
    at_ = digits.end;
    out = n;
    return true;
  }

  /// From low to high, around the end of the field where low > high.
  bool fill(int low, int high, int step) {
    const int last = high >= low ? high : high + size();
    for (int v = low; v <= last; v += step) values_.set(static_cast<std::size_t>((v - kind_.min) % size()));
    return true;
  }

  static bool set(std::uint32_t& mask, int bit) { return mask |= std::uint32_t{1} << bit, true; }

  bool eat(char c) {
    if (at_ == part_.end || upper(all_[at_]) != c) return false;
    return ++at_, true;
  }
  bool same(std::string_view name, std::size_t at) const {
    return std::equal(name.begin(), name.end(), all_.begin() + static_cast<std::ptrdiff_t>(at),
                      [](char a, char b) { return a == upper(b); });
  }

  bool missing(std::string_view what) {
    const bool nothing = at_ == part_.end || all_[at_] == ',' || all_[at_] == '-' || all_[at_] == '/';
    if (!nothing) return unexpected();
    const std::size_t shown_at = std::min(at_, part_.end - 1);
    return reject(fmt::format("a {} is missing", what), {shown_at, shown_at + 1});
  }
  bool unexpected() {
    const piece here{at_, at_ + 1};
    if (all_[at_] == '?') {
      return reject(has_question_mark()
                        ? fmt::format("? must stand alone in {}", kind_.name)
                        : fmt::format("? is only for day of month and day of week, not for {}", kind_.name),
                    here);
    }
    return reject(fmt::format("'{}' is not expected in {} '{}'", shown(text(here)), kind_.name, shown(text(part_))),
                  here);
  }
  bool reject(std::string message, piece where) {
    error_ = {errc::bad_cron, std::move(message), where.begin, where.end - where.begin};
    return false;
  }

  std::string_view all_;
  std::size_t at_;
  piece part_;
  const field_kind& kind_;
  fields& out_;
  std::bitset<last_year - first_year + 1> values_;
  failure error_;
};

std::vector<piece> split(std::string_view text) {
  std::vector<piece> parts;
  for (std::size_t at = 0; (at = text.find_first_not_of(" \t", at)) != text.npos;) {
    const std::size_t end = std::min(text.find_first_of(" \t", at), text.size());
    parts.push_back({at, end});
    at = end;
  }
  return parts;
}

std::optional<failure> check_count(std::string_view text, const std::vector<piece>& parts) {
  const std::size_t n = parts.size();
  if (n == year || n == field_count) return std::nullopt;
  const piece where = n == 0 ? piece{0, text.size()} : piece{parts[n < year ? 0 : field_count].begin, parts.back().end};
  return failure{errc::bad_cron,
                 fmt::format("{} {}, not 6 or 7 (second minute hour day-of-month month day-of-week [year])", n,
                             n == 1 ? "field" : "fields"),
                 where.begin, where.end - where.begin};
}

/// `?` in exactly one of the day fields, or `*` in both.
std::optional<failure> check_days(std::string_view text, const std::vector<piece>& parts) {
  const auto part = [&](field_index i) { return text.substr(parts[i].begin, parts[i].end - parts[i].begin); };
  const std::string_view of_month = part(day_of_month), of_week = part(day_of_week);
  const bool both_open = of_month == "?" && of_week == "?";
  if ((of_month == "?") != (of_week == "?") || (of_month == "*" && of_week == "*")) return std::nullopt;
  return failure{errc::bad_cron,
                 both_open ? "day of month and day of week are both ?: only one may be"
                           : "day of month and day of week are both given: put ? in one of them",
                 parts[day_of_week].begin, of_week.size()};
}

}  // namespace

result<fields> parse_fields(std::string_view text) {
  if (text.size() > max_expression_length) {
    return fail(errc::bad_cron, fmt::format("{} bytes are more than {}", text.size(), max_expression_length),
                max_expression_length, text.size() - max_expression_length);
  }
  const std::vector<piece> parts = split(text);
  if (auto wrong = check_count(text, parts)) return tl::unexpected(std::move(*wrong));

  fields out;
  const auto shifted = [](const auto& values, int by) { return values.to_ullong() << by; };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    field_parser field(text, parts[i], kinds[i], out);
    if (!field.parse()) return tl::unexpected(std::move(field).error());
    const auto& values = field.values();
    switch (i) {
      case second:
        out.seconds = shifted(values, 0);
        break;
      case minute:
        out.minutes = shifted(values, 0);
        break;
      case hour:
        out.hours = static_cast<std::uint32_t>(shifted(values, 0));
        break;
      case day_of_month:
        out.days = static_cast<std::uint32_t>(shifted(values, 1));
        break;
      case month:
        out.months = static_cast<std::uint32_t>(shifted(values, 1));
        break;
      case day_of_week:
        out.weekdays = static_cast<std::uint32_t>(shifted(values, 0));
        break;
      default:
        out.years = values;
    }
  }
  if (parts.size() == year) out.years.set();
  if (auto wrong = check_days(text, parts)) return tl::unexpected(std::move(*wrong));
  const std::size_t time_end = parts[hour].end;
  out.repeats = text.substr(0, time_end).find_first_of("*-/") != text.npos;
  return out;
}

}  // namespace coterie::calendar
