#include "output.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include <unistd.h>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace coterie::command {

namespace {
std::string fraction(wall_time t) {
  const auto part = (t - std::chrono::floor<std::chrono::seconds>(t)).count();
  return part == 0 ? "" : fmt::format(".{:03}", part);
}
std::string date_and_time(wall_time t, char between) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day d(day);
  const std::chrono::hh_mm_ss h(std::chrono::floor<std::chrono::seconds>(t - day));
  return fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}", int(d.year()), unsigned(d.month()), unsigned(d.day()),
                     between, h.hours().count(), h.minutes().count(), h.seconds().count());
}
}  // namespace

wall_time wall_now() { return std::chrono::floor<milliseconds>(std::chrono::system_clock::now()); }
std::string human(wall_time t) { return date_and_time(t, ' ') + fraction(t); }
std::string clock_of(wall_time t) { return date_and_time(t, ' ').substr(11); }
std::string rfc3339(wall_time t) { return date_and_time(t, 'T') + fraction(t) + "Z"; }
json json_of(const std::optional<wall_time>& t) { return t ? json(rfc3339(*t)) : json(nullptr); }

std::optional<wall_time> parse_rfc3339(std::string_view s) {
  const auto number = [&](std::size_t at, std::size_t n) -> int {
    int v = -1;
    if (at + n > s.size()) return -1;
    const auto r = std::from_chars(s.data() + at, s.data() + at + n, v);
    return r.ptr == s.data() + at + n && s[at] != '-' ? v : -1;
  };
  if (s.size() < 20 || s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != 't' && s[10] != ' ') || s[13] != ':' ||
      s[16] != ':')
    return std::nullopt;
  using namespace std::chrono;
  const year_month_day d(year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                         day(static_cast<unsigned>(number(8, 2))));
  const int h = number(11, 2), m = number(14, 2), sec = number(17, 2);
  if (!d.ok() || h < 0 || h > 23 || m < 0 || m > 59 || sec < 0 || sec > 59) return std::nullopt;
  wall_time t = sys_days(d) + hours(h) + minutes(m) + seconds(sec);
  std::size_t i = 19;
  if (s[i] == '.') {
    int scale = 100;
    for (++i; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i, scale /= 10) t += milliseconds(scale * (s[i] - '0'));
  }
  if (i >= s.size()) return std::nullopt;
  if ((s[i] == 'Z' || s[i] == 'z') && i + 1 == s.size()) return t;
  if ((s[i] != '+' && s[i] != '-') || s.size() != i + 6 || s[i + 3] != ':') return std::nullopt;
  const int oh = number(i + 1, 2), om = number(i + 4, 2);
  if (oh < 0 || om < 0) return std::nullopt;
  const auto offset = hours(oh) + minutes(om);
  return s[i] == '+' ? t - offset : t + offset;
}

std::string human(milliseconds d) {
  const auto n = d.count();
  if (n < 0) return "-" + human(-d);
  if (n < 1'000) return fmt::format("{} ms", n);
  if (n < 10'000 && n % 1'000 != 0) return fmt::format("{:.1f} s", static_cast<double>(n) / 1e3);
  const auto s = n / 1'000;
  if (s < 120) return fmt::format("{} s", s);
  const auto m = s / 60;
  if (m < 60) return fmt::format("{} min", m);
  if (m < 48 * 60) return m % 60 == 0 ? fmt::format("{} h", m / 60) : fmt::format("{} h {} min", m / 60, m % 60);
  const auto h = m / 60;
  return h % 24 == 0 ? fmt::format("{} d", h / 24) : fmt::format("{} d {} h", h / 24, h % 24);
}

std::optional<milliseconds> parse_duration(std::string_view s) {
  double v = 0;
  const auto r = std::from_chars(s.data(), s.data() + s.size(), v);
  if (r.ec != std::errc{} || v < 0) return std::nullopt;
  const std::string_view unit = s.substr(static_cast<std::size_t>(r.ptr - s.data()));
  const double scale = unit == "ms"                   ? 1
                       : unit.empty() || unit == "s"  ? 1e3
                       : unit == "m" || unit == "min" ? 6e4
                       : unit == "h"                  ? 3.6e6
                       : unit == "d"                  ? 8.64e7
                                                      : -1;
  if (scale < 0 || v * scale > 3.2e14) return std::nullopt;
  return milliseconds(static_cast<std::int64_t>(v * scale + 0.5));
}

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

std::string paint(colour c, std::string_view s) {
  const char* no = std::getenv("NO_COLOR");
  if (c == colour::none || !stdout_is_terminal() || (no != nullptr && *no != '\0')) return std::string(s);
  const char* code = c == colour::bold     ? "1"
                     : c == colour::red    ? "31"
                     : c == colour::green  ? "32"
                     : c == colour::yellow ? "33"
                                           : "90";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, s);
}

colour colour_of(std::string_view s) {
  if (s == "alive" || s == "success" || s == "active") return colour::green;
  if (s == "suspect" || s == "stopping" || s == "aborted" || s == "skipped") return colour::yellow;
  if (s == "unreachable" || s == "failed" || s == "lost" || s == "unavailable") return colour::red;
  return s == "left" ? colour::grey : colour::none;
}

std::size_t width(std::string_view s) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\x1b') {
      i = std::min(s.find('m', i), s.size());
      continue;
    }
    n += (static_cast<unsigned char>(s[i]) & 0xC0) != 0x80;
  }
  return n;
}

std::string table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& r : rows_) {
    widths.resize(std::max(widths.size(), r.size()));
    for (std::size_t i = 0; i < r.size(); ++i) widths[i] = std::max(widths[i], width(r[i]));
  }
  std::string out;
  for (const auto& r : rows_) {
    std::string line;
    for (std::size_t i = 0; i < r.size(); ++i) {
      line += r[i];
      line.append(widths[i] - width(r[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

void print_text(std::string_view s) {
  const bool whole = std::fwrite(s.data(), 1, s.size(), stdout) == s.size() && std::fflush(stdout) == 0;
  if (!whole) std::_Exit(0);
}

void print(const json& j) { print_text(j.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }
void print_list(const char* name, json list, const std::optional<wire::as_of>& as_of) {
  if (as_of)
    print(json{{name, std::move(list)}, {"as_of", to_json(*as_of)}});
  else
    print(list);
}

json to_json(const wire::as_of& x) {
  return {{"index", x.index.value}, {"age_ms", x.age ? json(x.age->count()) : json(nullptr)}};
}

std::string words(const wire::as_of& x) {
  return fmt::format("as of entry {}, {}", x.index,
                     x.age ? fmt::format("at most {} ms old", x.age->count()) : "nobody knows how old");
}

void print_line(const json& j) { print_text(j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"); }

void complain(std::string_view s) {
  const auto line = fmt::format("coterie: {}\n", s);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace coterie::command
