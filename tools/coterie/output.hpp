// What people and programs read: tables, times, durations, colours, JSON. Knows nothing of where the data comes from.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/time.hpp"
#include "wire/request.hpp"

namespace coterie::command {

using json = nlohmann::ordered_json;
using milliseconds = std::chrono::milliseconds;

/// Now, UTC.
wall_time wall_now();
/// "2026-11-21 02:30:00", with milliseconds when there are any.
std::string human(wall_time);
/// "14:02:06".
std::string clock_of(wall_time);
/// RFC 3339, UTC, milliseconds when there are any.
std::string rfc3339(wall_time);
std::optional<wall_time> parse_rfc3339(std::string_view);
json json_of(const std::optional<wall_time>&);
/// What is not there, and an empty text, is null.
inline json or_null(const std::optional<double>& v) { return v ? json(*v) : json(nullptr); }
inline json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }
/// "3 ms", "12 s", "11 h 48 min", "2 d 3 h".
std::string human(milliseconds);
/// "500ms", "5s", "2m", "1h", "2d"; a number alone is seconds.
std::optional<milliseconds> parse_duration(std::string_view);

enum class colour { none, bold, red, green, yellow, grey };
/// With escape codes when standard output is a terminal and NO_COLOR is not set.
std::string paint(colour, std::string_view);
/// The colour of a member's or an outcome's state.
colour colour_of(std::string_view state);
bool stdout_is_terminal();

/// Columns that align; the first row is the heading.
class table {
 public:
  explicit table(std::vector<std::string> heading) : rows_{std::move(heading)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};
/// Columns that a text takes on a terminal (UTF-8, without escape codes).
std::size_t width(std::string_view);

/// Whole and flushed; ends the process quietly when the reader is gone.
void print_text(std::string_view);
void print(const json&);       ///< a document
void print_line(const json&);  ///< one line
/// A list under its name beside what it is as of, when that was said; else the list alone.
void print_list(const char* name, json list, const std::optional<wire::as_of>&);
json to_json(const wire::as_of&);
/// "as of entry 42, at most 120 ms old".
std::string words(const wire::as_of&);
/// Standard error, with "coterie: " in front.
void complain(std::string_view);

}  // namespace coterie::command
