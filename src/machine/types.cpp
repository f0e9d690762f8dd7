// Keys of records, byte for byte as they are stored. Knows nothing of how values are encoded.
#include "machine/types.hpp"

#include "base/big_endian.hpp"

namespace coterie::machine {
namespace {

void put_text(bytes& key, std::string_view s) {
  const auto view = as_bytes(s);
  key.insert(key.end(), view.begin(), view.end());
  key.push_back(std::byte{0});
}

constexpr char first_in_memory = 'a', last_in_memory = 'z';  // class letters

bytes start(char letter) {
  bytes key;
  key.reserve(32);
  key.push_back(static_cast<std::byte>(letter));
  return key;
}

bytes text_key(char letter, std::string_view name) {
  auto key = start(letter);
  put_text(key, name);
  return key;
}

bytes text_number_key(char letter, std::string_view name, std::uint64_t number) {
  auto key = text_key(letter, name);
  put_big_endian(key, number);
  return key;
}

struct letter_of {
  char operator()(const global_record&) const { return 'g'; }
  char operator()(const member_record&) const { return 'm'; }
  char operator()(const session_record&) const { return 's'; }
  char operator()(const lock_record&) const { return 'l'; }
  char operator()(const job_record&) const { return 'j'; }
  char operator()(const journal_record&) const { return 'q'; }
  char operator()(const journal_bucket&) const { return 'b'; }
  char operator()(const journal_key&) const { return 'k'; }
  char operator()(const journal_entry&) const { return 'E'; }
  char operator()(const job_run_record&) const { return 'H'; }
};

struct key_maker {
  template <class Record>
  bytes begin(const Record& r) const {
    return start(letter_of{}(r));
  }
  template <class Record>
  bytes named(const Record& r, std::string_view name) const {
    return text_key(letter_of{}(r), name);
  }
  bytes operator()(const global_record& r) const { return begin(r); }
  bytes operator()(const member_record& r) const {
    auto key = begin(r);
    put_big_endian(key, r.id.hi);
    put_big_endian(key, r.id.lo);
    return key;
  }
  bytes operator()(const session_record& r) const {
    auto key = begin(r);
    put_big_endian(key, r.epoch.value);
    return key;
  }
  bytes operator()(const lock_record& r) const { return named(r, r.name); }
  bytes operator()(const job_record& r) const { return named(r, r.id); }
  bytes operator()(const journal_record& r) const { return named(r, r.name); }
  bytes operator()(const journal_bucket& r) const {
    auto key = named(r, r.journal);
    put_big_endian(key, r.first);
    return key;
  }
  bytes operator()(const journal_key& r) const {
    auto key = named(r, r.journal);
    put_text(key, r.key);
    return key;
  }
  bytes operator()(const journal_entry& r) const { return entry_key(r.journal, r.id); }
  bytes operator()(const job_run_record& r) const { return history_key(r.job, r.number); }
};

}  // namespace

const char* to_string(outcome o) {
  switch (o) {
    case outcome::success:
      return "success";
    case outcome::failed:
      return "failed";
    case outcome::aborted:
      return "aborted";
    case outcome::unavailable:
      return "unavailable";
    case outcome::skipped:
      return "skipped";
    case outcome::lost:
      return "lost";
  }
  return "unknown";
}

char class_of(const record& r) { return std::visit(letter_of{}, r); }
char class_of(const write& w) {
  if (const auto* p = std::get_if<put>(&w)) return class_of(p->value);
  const auto* e = std::get_if<erase>(&w);
  return static_cast<char>((e != nullptr ? e->key : std::get<erase_range>(w).from).front());
}

bytes key_of(const record& r) { return std::visit(key_maker{}, r); }
bytes entry_key(std::string_view journal, std::uint64_t id) { return text_number_key('E', journal, id); }
bytes history_key(std::string_view job, std::uint64_t number) { return text_number_key('H', job, number); }

bytes memory_begin() { return start(first_in_memory); }
bytes memory_end() { return start(last_in_memory + 1); }
bool in_memory(byte_view key) {
  return !key.empty() && key.front() >= std::byte{first_in_memory} && key.front() <= std::byte{last_in_memory};
}

}  // namespace coterie::machine
