#include "linearizability/history.hpp"

#include <algorithm>
#include <istream>
#include <limits>
#include <ostream>
#include <string_view>
#include <utility>

namespace coterie::linearizability {

std::optional<std::uint64_t> natural(const value& v) {
  if (!v.is_number_integer() || (!v.is_number_unsigned() && v.get<std::int64_t>() < 0)) return std::nullopt;
  return v.get<std::uint64_t>();
}

recorder::id recorder::call(std::uint64_t process, std::string name, std::string key, value input, std::int64_t at) {
  operations_.push_back({process, std::move(name), std::move(key), std::move(input), std::nullopt, at, std::nullopt});
  refused_.push_back(false);
  return operations_.size() - 1;
}

void recorder::returned(id i, value output, std::int64_t at) {
  operations_.at(i).output = std::move(output);
  operations_.at(i).returned = at;
}

void recorder::refused(id i) { refused_.at(i) = true; }

history recorder::take() {
  history h;
  for (std::size_t i = 0; i < operations_.size(); ++i)
    if (!refused_[i]) h.push_back(std::move(operations_[i]));
  operations_.clear();
  refused_.clear();
  return h;
}

// Text ---

namespace {

// Throws the sentence that becomes the error.
struct bad {
  std::string what;
};

std::int64_t instant(const value& line, const char* member) {
  const auto found = line.find(member);
  if (found == line.end()) throw bad{std::string("no \"") + member + '"'};
  if (!found->is_number_integer() ||
      (found->is_number_unsigned() && found->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()))
    throw bad{std::string("\"") + member + "\" is not a whole number of nanoseconds"};
  return found->get<std::int64_t>();
}

std::string words(const value& line, const char* member) {
  const auto found = line.find(member);
  if (found == line.end()) throw bad{std::string("no \"") + member + '"'};
  if (!found->is_string()) throw bad{std::string("\"") + member + "\" is not a string"};
  return found->get<std::string>();
}

operation read_line(const std::string& text) {
  value line = value::parse(text);
  if (!line.is_object()) throw bad{"not an object"};
  for (const auto& [member, unused] : line.items()) {
    constexpr std::string_view known[] = {"process", "op", "key", "input", "output", "call", "return"};
    if (std::find(std::begin(known), std::end(known), member) == std::end(known))
      throw bad{"unknown member \"" + member + '"'};
  }
  operation o;
  const auto process = line.find("process");
  if (process == line.end()) throw bad{"no \"process\""};
  if (!natural(*process)) throw bad{"\"process\" is not a number from 0"};
  o.process = *natural(*process);
  o.name = words(line, "op");
  if (o.name.empty()) throw bad{"\"op\" is empty"};
  o.key = words(line, "key");
  o.call = instant(line, "call");
  if (const auto back = line.find("return"); back == line.end()) {
    throw bad{"no \"return\": null says that it never came"};
  } else if (!back->is_null()) {
    o.returned = instant(line, "return");
    if (*o.returned < o.call) throw bad{"it returns before it is called"};
  }
  if (const auto input = line.find("input"); input != line.end()) o.input = std::move(*input);
  if (const auto output = line.find("output"); output != line.end() && (o.returned || !output->is_null()))
    o.output = std::move(*output);
  return o;
}

}  // namespace

read_result read_json_lines(std::istream& in) {
  history h;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    try {
      if (in.eof()) throw bad{"the line does not end: the file was cut short"};
      h.push_back(read_line(text));
    } catch (const bad& e) {
      return tl::unexpected(read_error{number, e.what});
    } catch (const value::exception& e) {
      return tl::unexpected(read_error{number, std::string("not JSON: ") + e.what()});
    }
  }
  if (in.bad()) return tl::unexpected(read_error{0, "cannot be read"});
  return h;
}

void write_json_lines(std::ostream& out, const history& h) {
  for (const auto& o : h) {
    value line = {{"process", o.process}, {"op", o.name}, {"key", o.key}, {"input", o.input}, {"call", o.call}};
    if (o.output) line["output"] = *o.output;
    line["return"] = o.returned ? value(*o.returned) : value();
    out << line.dump(-1, ' ', false, value::error_handler_t::replace) << '\n';
  }
}

std::string text_of(const value& v, std::size_t width) {
  std::string s = v.dump(-1, ' ', true, value::error_handler_t::replace);
  if (s.size() > width) {
    const std::size_t head = width / 3, tail = width - head - 3;
    s = s.substr(0, head) + "..." + s.substr(s.size() - tail);
  }
  return s;
}

std::string text_of(const operation& o) {
  std::string s = o.name;
  if (!o.input.is_null()) s += ' ' + text_of(o.input);
  return s + " -> " + (o.output ? text_of(*o.output) : "?");
}

}  // namespace coterie::linearizability
