// Histories as text: what is read and written, and what is refused, with its line.
#include <fstream>
#include <sstream>

#include "catch.hpp"
#include "linearizability/recorded.hpp"
#include "support/temporary_directory.hpp"

using namespace coterie::linearizability;

namespace {

using reader = read_result (*)(std::istream&);

std::string error_of(reader read, const std::string& text) {
  std::istringstream in(text);
  const auto h = read(in);
  return h ? "none" : std::to_string(h.error().line) + ": " + h.error().what;
}

const std::string good = R"({"process":3,"op":"append","key":"a","input":["m"],"output":[7],"call":12,"return":15})"
                         "\n";

}  // namespace

TEST_CASE("lines of JSON are read as they were written", "[linearizability]") {
  recorder r;
  const auto first = r.call(1, "write", "k\n\"", value(4), -5), second = r.call(2, "read", "", value(), 7);
  const auto third = r.call(2, "acquire", "lock", value(), 8), fourth = r.call(3, "write", "k", value({1, 2}), 9);
  r.returned(first, value("ok"), 6);
  r.returned(second, value(), 8);
  r.refused(third);
  (void)fourth;
  const history h = r.take();
  REQUIRE(h.size() == 3);
  CHECK(r.take().empty());
  std::ostringstream out;
  write_json_lines(out, h);
  std::istringstream in(out.str());
  const auto back = read_json_lines(in);
  REQUIRE(back);
  REQUIRE(back->size() == 3);
  std::ostringstream again;
  write_json_lines(again, *back);
  CHECK(again.str() == out.str());
  CHECK((*back)[0].key == "k\n\"");
  CHECK((*back)[0].call == -5);
  CHECK((*back)[1].output == value());  // null came back
  CHECK(!(*back)[2].output);
  CHECK(!(*back)[2].returned);
}

TEST_CASE("lines of JSON that are refused", "[linearizability]") {
  CHECK(error_of(read_json_lines, good) == "none");
  CHECK(error_of(read_json_lines, good + good + "\n").starts_with("3: not JSON"));
  CHECK(error_of(read_json_lines, good + good.substr(0, 40) + "\n").starts_with("2: not JSON"));
  CHECK(error_of(read_json_lines, good + good.substr(0, 40)) == "2: the line does not end: the file was cut short");
  CHECK(error_of(read_json_lines, "[]\n") == "1: not an object");
  const auto with = [](const std::string& from, const std::string& to) {
    std::string s = good;
    s.replace(s.find(from), from.size(), to);
    return error_of(read_json_lines, s);
  };
  CHECK(with("\"process\":3,", "") == "1: no \"process\"");
  CHECK(with("\"process\":3", "\"process\":-3") == "1: \"process\" is not a number from 0");
  CHECK(with("\"op\":\"append\",", "") == "1: no \"op\"");
  CHECK(with("\"append\"", "\"\"") == "1: \"op\" is empty");
  CHECK(with("\"key\":\"a\"", "\"key\":1") == "1: \"key\" is not a string");
  CHECK(with("\"call\":12,", "") == "1: no \"call\"");
  CHECK(with("\"call\":12", "\"call\":1.5") == "1: \"call\" is not a whole number of nanoseconds");
  CHECK(with("\"call\":12", "\"call\":18446744073709551615") == "1: \"call\" is not a whole number of nanoseconds");
  CHECK(with("\"return\":15", "\"return\":11") == "1: it returns before it is called");
  CHECK(with(",\"return\":15", "") == "1: no \"return\": null says that it never came");
  CHECK(with("\"return\":15", "\"return\":null") == "none");
  CHECK(with("\"input\"", "\"inputs\"") == "1: unknown member \"inputs\"");
  CHECK(with("\"m\"", "\"\xff\"").starts_with("1: not JSON"));
}

TEST_CASE("a register's log", "[linearizability]") {
  const std::string start = "INFO  jepsen.util - 1\t:invoke\t:";
  const auto ends = [&](const std::string& what, const std::string& end) {
    return error_of(read_register_log, start + what + "\nINFO  jepsen.util - " + end + "\n");
  };
  std::istringstream in(
      start + "write\t4\nINFO jepsen.util - 2 :invoke :read nil\nINFO jepsen.util - 2 :fail :read :timed-out\n" +
      "INFO jepsen.util - 3 :invoke :cas [4 5]\nINFO jepsen.util - 3 :fail :cas [4 5]\n" +
      "INFO jepsen.util - 1 :info :write :timed-out\n");
  const auto h = read_register_log(in);
  REQUIRE(h);
  REQUIRE(h->size() == 2);
  CHECK(text_of((*h)[0]) == "write 4 -> ?");
  CHECK(text_of((*h)[1]) == "cas [4,5] -> false");
  CHECK((*h)[1].call == 4);
  CHECK((*h)[1].returned == 5);
  CHECK(ends("read\tnil", "1\t:ok\t:read\t4") == "none");
  CHECK(ends("read\t4", "1\t:ok\t:read\t4") == "1: a wrong value for what is called");
  CHECK(ends("write\t4", "1\t:ok\t:write\t5") == "2: the value differs from the one of the call");
  CHECK(ends("write\t4", "1\t:fail\t:write\t4") == "2: an end that nobody explained");
  CHECK(ends("write\t4", "1\t:ok\t:cas\t[1 2]") == "2: the process has a write open");
  CHECK(ends("write\t4", "2\t:ok\t:write\t4") == "2: process 2 ends what it did not begin");
  CHECK(ends("write\t4", "1\t:invoke\t:write\t4") == "2: process 1 begins an operation before the last one ended");
  CHECK(ends("cas\t[1 2]", "1\t:ok\t:cas\t[1 2] ") == "2: unexpected ` `");
  CHECK(ends("cas\t[1 2]", "1\t:okay\t:cas\t[1 2]") == "2: expected a blank at `ay\t:cas\t[1 2]`");
  CHECK(ends("jump\t1", "") == "1: unexpected `:jump\t1`");
  CHECK(error_of(read_register_log, "WARN\n") == "1: expected `INFO` at `WARN`");
}

TEST_CASE("a key-value log", "[linearizability]") {
  const std::string start = R"({:process 9, :type :invoke, :f :append, :key "0", :value "x\" y"})"
                            "\n";
  const auto then = [&](const std::string& end) { return error_of(read_key_value_log, start + end + "\n"); };
  CHECK(error_of(read_key_value_log, start) == "none");
  CHECK(then(R"({:process 9, :type :ok, :f :append, :key "0", :value "x\" y"})") == "none");
  CHECK(then(R"({:process 9, :type :ok, :f :append, :key "0", :value "x"})") ==
        "2: the value differs from the one of the call");
  CHECK(then(R"({:process 9, :type :ok, :f :append, :key "1", :value "x\" y"})") ==
        "2: the process has append of another key open");
  CHECK(then(R"({:process 9, :type :fail, :f :append, :key "0", :value "x\" y"})").starts_with("2: unexpected `:fail"));
  CHECK(then(R"({:process 8, :type :invoke, :f :get, :key "0", :value "a"})") ==
        "2: a wrong value for what is called or came back");
  CHECK(then(R"({:process 8, :type :invoke, :f :get, :key "0", :value nil)") == "2: expected `}` at ``");
  CHECK(then(R"({:process 8, :type :invoke, :f :put, :key "0", :value "\q"})") == "2: unknown escape at `q\"}`");
}

TEST_CASE("a file tells its format, and holds something", "[linearizability]") {
  const coterie::test::temporary_directory t;
  const auto file = [&](const std::string& text) {
    std::ofstream(t.path() / "h") << text;
    return read_file(t.path() / "h");
  };
  CHECK(file(good).value().size() == 1);
  CHECK(file("INFO  jepsen.util - 1\t:invoke\t:write\t1\n").value()[0].name == "write");
  CHECK(file("{:process 1, :type :invoke, :f :put, :key \"0\", :value \"\"}\n").value()[0].name == "put");
  CHECK(file("").error().what == "holds no operation");
  CHECK(read_file(t.path() / "nothing").error().what == "cannot be opened");
  CHECK(read_file(t.path()).error().what == "cannot be opened");
}

TEST_CASE("long values lose their middle", "[linearizability]") {
  CHECK(text_of(value("abc"), 5) == "\"abc\"");
  CHECK(text_of(value("abcdefghijklmnopq"), 12) == R"("abc...nopq")");
}
