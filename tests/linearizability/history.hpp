// What clients called and what they were told: the input of the checker, and its form as lines of JSON. Knows nothing
// of what the operations mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

namespace coterie::linearizability {

/// An input or an output. Write `value(x)`, not `value{x}`: braces make a list.
using value = nlohmann::json;

/// The value as a number from 0, whichever integer type it was made of.
std::optional<std::uint64_t> natural(const value&);

/// One operation of a client (Herlihy & Wing 1990, section 2: an invocation and its matching response).
///
/// It took effect at one instant of the closed interval [call, returned], and gave `output`. When either is missing
/// its outcome is unknown: it took effect at some instant from `call` on, or never. An operation whose output is an
/// object with the member "error" surely had no effect; the checker leaves it out.
/// Two operations that touch at the same nanosecond overlap.
struct operation {
  std::uint64_t process = 0;             ///< who called; only for people to read
  std::string name;                      ///< "read", "append", "acquire", ...
  std::string key;                       ///< the object; different keys are independent
  value input;                           ///< see models.hpp and journal.hpp
  std::optional<value> output;           ///< nullopt = unknown
  std::int64_t call = 0;                 ///< nanoseconds, of any one clock
  std::optional<std::int64_t> returned;  ///< nullopt = not yet
};

/// In any order: the checker sorts.
using history = std::vector<operation>;

/// Writes a history down while it happens. Not thread-safe. An id stays valid until `take`.
class recorder {
 public:
  using id = std::size_t;
  /// An operation begins. Until more is said its outcome is unknown.
  id call(std::uint64_t process, std::string name, std::string key, value input, std::int64_t at);
  /// It ended, and this came of it. Saying nothing, or that it ended without an answer, leaves its outcome unknown.
  void returned(id, value output, std::int64_t at);
  /// It surely had no effect and never will.
  void refused(id);
  /// The operations so far, without the refused ones; starts over.
  history take();

 private:
  history operations_;
  std::vector<bool> refused_;
};

/// What is wrong with the text of a history, and in which line of it (from 1; 0 = the whole).
struct read_error {
  std::size_t line = 0;
  std::string what;
};
using read_result = tl::expected<history, read_error>;

/// Reads lines like {"process":3,"op":"append","key":"a","input":["m"],"output":[7],"call":12,"return":15}.
/// "input" may be left out (null), "output" too (unknown), and "return" may be null (unknown). Other members, and lines
/// that are empty or cut short, are errors. Operation i stands on line i + 1.
read_result read_json_lines(std::istream&);
/// The same as text; what `read_json_lines` reads back as it was.
void write_json_lines(std::ostream&, const history&);

/// The value as JSON, in at most `width` characters: a longer one loses its middle.
std::string text_of(const value&, std::size_t width = 48);
/// "append ["m"] -> [7]"; "-> ?" when the outcome is unknown.
std::string text_of(const operation&);

}  // namespace coterie::linearizability
