#include "linearizability/recorded.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <istream>
#include <map>
#include <sstream>
#include <string_view>
#include <utility>

namespace coterie::linearizability {

namespace {

// Throws the sentence that becomes the error.
struct bad {
  std::string what;
};

// What is left of a line.
class scanner {
 public:
  explicit scanner(std::string_view text) : rest_(text) {}
  bool at_end() const { return rest_.empty(); }
  bool take(std::string_view words) {
    if (!rest_.starts_with(words)) return false;
    rest_.remove_prefix(words.size());
    return true;
  }
  void need(std::string_view words) {
    if (!take(words)) throw bad{"expected `" + std::string(words) + "` at `" + std::string(rest_) + '`'};
  }
  void need_blanks() {
    if (rest_.empty() || !blank(rest_[0])) throw bad{"expected a blank at `" + std::string(rest_) + '`'};
    while (!rest_.empty() && blank(rest_[0])) rest_.remove_prefix(1);
  }
  std::uint64_t number() {
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), n);
    if (error != std::errc()) throw bad{"expected a number at `" + std::string(rest_) + '`'};
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return n;
  }
  std::string quoted() {
    need("\"");
    std::string s;
    while (!rest_.empty() && rest_[0] != '"') {
      if (take("\\")) {
        constexpr std::string_view escapes = "\"\\ntr", meanings = "\"\\\n\t\r";
        const auto which = rest_.empty() ? std::string_view::npos : escapes.find(rest_[0]);
        if (which == std::string_view::npos) throw bad{"unknown escape at `" + std::string(rest_) + '`'};
        s += meanings[which];
      } else {
        s += rest_[0];
      }
      rest_.remove_prefix(1);
    }
    need("\"");
    return s;
  }
  // One of the words, as its place in the list.
  std::size_t one_of(std::initializer_list<std::string_view> words) {
    for (const auto* w = words.begin(); w != words.end(); ++w)
      if (take(*w)) return static_cast<std::size_t>(w - words.begin());
    throw bad{"unexpected `" + std::string(rest_) + '`'};
  }
  void end() {
    if (!at_end()) throw bad{"unexpected `" + std::string(rest_) + '`'};
  }

 private:
  static bool blank(char c) { return c == ' ' || c == '\t'; }
  std::string_view rest_;
};

// The operation that each process has open, as its place in the history.
class open_operations {
 public:
  void begin(std::uint64_t process, std::size_t place) {
    if (!open_.emplace(process, place).second)
      throw bad{"process " + std::to_string(process) + " begins an operation before the last one ended"};
  }
  std::size_t end(std::uint64_t process) {
    const auto found = open_.find(process);
    if (found == open_.end()) throw bad{"process " + std::to_string(process) + " ends what it did not begin"};
    const auto place = found->second;
    open_.erase(found);
    return place;
  }

 private:
  std::map<std::uint64_t, std::size_t> open_;
};

// Calls `line` with each line of the text; leaves out the operations that are without output and called `observer`.
template <class F>
read_result each_line(std::istream& in, std::string_view observer, F line) {
  history h;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    try {
      if (in.eof()) throw bad{"the line does not end: the file was cut short"};
      line(scanner(text), static_cast<std::int64_t>(number), h);
    } catch (const bad& e) {
      return tl::unexpected(read_error{number, e.what});
    }
  }
  if (in.bad()) return tl::unexpected(read_error{0, "cannot be read"});
  std::erase_if(h, [&](const operation& o) { return !o.output && o.name == observer; });
  return h;
}

constexpr std::string_view register_names[] = {"read", "write", "cas"};
constexpr std::string_view key_value_names[] = {"get", "put", "append"};

}  // namespace

read_result read_register_log(std::istream& in) {
  open_operations open;
  return each_line(in, "read", [&](scanner s, std::int64_t now, history& h) {
    enum type { invoke, ok, fail, info };
    enum name { read, write, cas };
    s.need("INFO");
    s.need_blanks();
    s.need("jepsen.util");
    s.need_blanks();
    s.need("-");
    s.need_blanks();
    const auto process = s.number();
    s.need_blanks();
    const auto type = s.one_of({":invoke", ":ok", ":fail", ":info"});
    s.need_blanks();
    const auto name = s.one_of({":read", ":write", ":cas"});
    s.need_blanks();
    value v;
    const bool timed_out = s.take(":timed-out");
    if (timed_out) {
    } else if (name == cas) {
      s.need("[");
      v.push_back(s.number());
      s.need_blanks();
      v.push_back(s.number());
      s.need("]");
    } else if (!s.take("nil")) {
      v = s.number();
    }
    s.end();
    if (type == invoke) {
      if (timed_out || (name == read) != v.is_null()) throw bad{"a wrong value for what is called"};
      open.begin(process, h.size());
      h.push_back({process, std::string(register_names[name]), "", v, std::nullopt, now, std::nullopt});
      return;
    }
    operation& o = h[open.end(process)];
    if (o.name != register_names[name]) throw bad{"the process has a " + o.name + " open"};
    if ((type == ok && timed_out) || (type == info && !timed_out) || (type == fail && name == write && !timed_out) ||
        (type == fail && name == read && !timed_out))
      throw bad{"an end that nobody explained"};
    if (timed_out) return;
    if (name != read && v != o.input) throw bad{"the value differs from the one of the call"};
    o.output = name == read ? v : value(type == ok);
    o.returned = now;
  });
}

read_result read_key_value_log(std::istream& in) {
  open_operations open;
  return each_line(in, "get", [&](scanner s, std::int64_t now, history& h) {
    enum type { invoke, ok };
    enum name { get, put, append };
    s.need("{:process ");
    const auto process = s.number();
    s.need(", :type ");
    const auto type = s.one_of({":invoke", ":ok"});
    s.need(", :f ");
    const auto name = s.one_of({":get", ":put", ":append"});
    s.need(", :key ");
    const auto key = s.quoted();
    s.need(", :value ");
    const value v = s.take("nil") ? value() : value(s.quoted());
    s.need("}");
    s.end();
    if ((name == get && type == invoke) != v.is_null()) throw bad{"a wrong value for what is called or came back"};
    if (type == invoke) {
      open.begin(process, h.size());
      h.push_back({process, std::string(key_value_names[name]), key, v, std::nullopt, now, std::nullopt});
      return;
    }
    operation& o = h[open.end(process)];
    if (o.name != key_value_names[name] || o.key != key)
      throw bad{"the process has " + o.name + " of another key open"};
    if (name != get && v != o.input) throw bad{"the value differs from the one of the call"};
    o.output = name == get ? v : value("ok");
    o.returned = now;
  });
}

read_result read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string start(10, '\0');
  if (!in || !std::filesystem::is_regular_file(path)) return tl::unexpected(read_error{0, "cannot be opened"});
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(in.gcount()));
  in.clear();
  in.seekg(0);
  auto h = start.starts_with("INFO")        ? read_register_log(in)
           : start.starts_with("{:process") ? read_key_value_log(in)
                                            : read_json_lines(in);
  if (h && h->empty()) return tl::unexpected(read_error{0, "holds no operation"});
  return h;
}

}  // namespace coterie::linearizability
