#include "store/wal.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace coterie {
namespace {

namespace fs = std::filesystem;

// A segment begins with magic, number of its first record, salt, XXH3-64 of these. A record is XXH3-64, with the salt,
// of all that follows: its number, the newest number that was durable when it was written, length, payload. Numbers are
// little endian. The salt is another one at each use of a file, so nothing of an earlier use is taken for a record.
constexpr std::string_view magic = "cotwal01";
constexpr std::string_view log_suffix = ".log", spare_suffix = ".spare";
constexpr std::size_t segment_header = 32, record_header = 28;
constexpr std::size_t keep_buffer = 1 << 20, fill_step = 1 << 20;

template <class T>
void put(std::string& to, T v) {
  for (std::size_t i = 0; i < sizeof v; ++i) to.push_back(static_cast<char>(v >> (8 * i)));
}
template <class T>
T get(std::string_view from, std::size_t at) {
  T v = 0;
  for (std::size_t i = 0; i < sizeof v; ++i)
    v |= static_cast<T>(static_cast<T>(static_cast<unsigned char>(from[at + i])) << (8 * i));
  return v;
}

tl::unexpected<failure> failed(const fs::path& file, int error) {
  return fail(errc::unavailable, fmt::format("{}: {}", file.string(), std::strerror(error)));
}

struct record {
  std::uint64_t number = 0, durable = 0;
  std::string_view payload;
  std::size_t end = 0;
};

/// The whole record at this place.
std::optional<record> record_at(std::string_view all, std::size_t at, std::uint64_t salt) {
  if (at + record_header > all.size()) return std::nullopt;
  const std::size_t length = get<std::uint32_t>(all, at + 24);
  if (length > all.size() - at - record_header) return std::nullopt;
  const auto end = at + record_header + length;
  if (get<std::uint64_t>(all, at) != hash64(all.substr(at + 8, end - at - 8), salt)) return std::nullopt;
  return record{get<std::uint64_t>(all, at + 8), get<std::uint64_t>(all, at + 16),
                all.substr(at + record_header, length), end};
}

result<std::string> read_all(const fs::path& file) {
  const file_descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat s {};
  if (!fd || ::fstat(fd.get(), &s) != 0) return failed(file, errno);
  std::string all(static_cast<std::size_t>(s.st_size), '\0');
  for (std::size_t at = 0; at < all.size();) {
    const auto n = ::pread(fd.get(), all.data() + at, all.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(file, errno);
    if (n == 0) all.resize(at);
    at += static_cast<std::size_t>(n);
  }
  return all;
}

fs::path name_of(const fs::path& directory, std::uint64_t first, std::string_view suffix) {
  return directory / fmt::format("{:020}{}", first, suffix);
}

std::uint64_t fresh_salt() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

}  // namespace

// ---- opening -------------------------------------------------------------------------------------------------------

/// One segment as found: its records from the beginning on, up to the first that is not whole.
struct write_ahead_log::scan {
  std::string all;
  std::uint64_t first = 0, salt = 0;
  std::size_t end = 0;  ///< zero: not even the header is whole
  std::vector<record> records;

  scan(std::string found, std::uint64_t begins) : all(std::move(found)), first(begins) {
    const std::string_view v = all;
    if (v.size() < segment_header || v.substr(0, magic.size()) != magic || get<std::uint64_t>(v, 8) != first ||
        get<std::uint64_t>(v, 24) != hash64(v.substr(0, 24)))
      return;
    salt = get<std::uint64_t>(v, 16);
    end = segment_header;
    for (auto r = record_at(v, end, salt); r && r->number == first + records.size(); r = record_at(v, end, salt)) {
      end = r->end;
      records.push_back(*r);
    }
  }
  /// Where the records begin of which none says that they had been durable.
  std::size_t unsure() const {
    std::uint64_t durable = 0;
    for (const auto& r : records) durable = std::max(durable, r.durable);
    const auto known = std::ranges::count_if(records, [&](const record& r) { return r.number <= durable; });
    return known == 0 ? 0 : records[static_cast<std::size_t>(known) - 1].end;
  }
  /// The newest record that is whole behind the end, with the newest number that any of them calls durable.
  std::optional<record> behind(std::uint64_t next) const {
    std::optional<record> found;
    if (end == 0) return found;
    const auto most = next + (all.size() - end) / record_header;
    auto budget = 4 * all.size();  // a checksum may cost as much as the rest of the file, so few places get one
    for (auto at = end; at + record_header <= all.size(); ++at) {
      const auto number = get<std::uint64_t>(all, at + 8), durable = get<std::uint64_t>(all, at + 16);
      if (number < next || number > most || durable >= number || durable + 1 < first) continue;
      const auto cost = record_header + std::min<std::size_t>(get<std::uint32_t>(all, at + 24), all.size());
      if (cost > all.size() - at) continue;
      if (cost > budget) break;
      budget -= cost;
      if (auto r = record_at(all, at, salt)) {
        if (found) r->durable = std::max(r->durable, found->durable);
        found = r;
      }
    }
    return found;
  }
};

result<write_ahead_log> write_ahead_log::open(fs::path directory, std::uint64_t after, const options& o,
                                              const finder& f) {
  write_ahead_log log(std::move(directory), o);
  if (::mkdir(log.directory_.c_str(), 0700) != 0 && errno != EEXIST) return failed(log.directory_, errno);
  if (auto r = log.recover(after, f); !r) return tl::unexpected(r.error());
  return log;
}

result<void> write_ahead_log::recover(std::uint64_t after, const finder& f) {
  std::error_code error;
  for (const auto& x : fs::directory_iterator(directory_, error)) {
    const auto name = x.path().filename().string();
    std::uint64_t first = 0;
    const auto [rest, bad] = std::from_chars(name.data(), name.data() + name.size(), first);
    if (bad != std::errc()) continue;
    const std::string_view kind(rest);
    if (kind == log_suffix) segments_.push_back({first, 0, x.path()});
    if (kind == spare_suffix && x.file_size(error) <= opt_.segment && spares_.size() < opt_.keep)
      spares_.push_back(x.path());
    else if (kind == spare_suffix)
      fs::remove(x.path(), error);
  }
  if (error) return failed(directory_, error.value());
  std::ranges::sort(segments_, {}, &segment::first);
  const auto remove_from = [&](std::size_t i) {
    for (auto k = i; k < segments_.size(); ++k) fs::remove(segments_[k].file, error);
    segments_.resize(i);
  };
  while (segments_.size() > 1 && segments_[1].first <= after + 1) {
    fs::remove(segments_.front().file, error);
    segments_.pop_front();
  }
  next_ = after + 1;
  if (segments_.empty() || segments_.front().first > after + 1) {
    if (after > 0 || !segments_.empty()) {
      const auto what = segments_.empty() ? fmt::format("the write-ahead log is gone, the tables end at {}", after)
                                          : fmt::format("the write-ahead log begins at record {}, the tables end at {}",
                                                        segments_.front().first, after);
      if (auto r = f.damage(what); !r) return r;
    }
    remove_from(0);
    durable_ = after;
    return {};
  }
  auto number = segments_.front().first;
  bool clean = true;
  std::string unsure;
  for (std::size_t i = 0; i < segments_.size() && clean; ++i) {
    auto& s = segments_[i];
    const bool last = i + 1 == segments_.size();
    auto all = read_all(s.file);
    if (!all) return tl::unexpected(all.error());
    const scan found(std::move(*all), s.first);
    for (const auto& r : found.records) {
      if (number++ <= after) continue;
      if (auto ok = f.record(r.number, std::string(r.payload)); !ok) return ok;
    }
    s.used = found.end;
    salt_ = found.salt;
    unsure = found.all.substr(found.unsure(), found.end - found.unsure());
    const auto stray = last ? found.behind(number) : std::nullopt;
    const bool lost = last ? stray && stray->durable >= std::max(number, after + 1) : segments_[i + 1].first != number;
    clean = !stray && !lost;
    if (lost) {
      if (auto r = f.damage(fmt::format("corruption in the write-ahead log: record {} in {} is not whole, and newer "
                                        "ones are there",
                                        number, s.file.filename().string()));
          !r)
        return r;
      remove_from(i + 1);
    }
  }
  next_ = std::max(number, after + 1);
  durable_ = next_ - 1;
  // Records that only tables have, or a segment that was never begun: nothing to go on with.
  if (number <= after || segments_.back().used == 0) {
    remove_from(number <= after ? 0 : segments_.size() - 1);
    return sync_directory(directory_) ? result<void>() : failed(directory_, errno);
  }
  if (!clean) fs::resize_file(segments_.back().file, segments_.back().used, error);
  if (error) return failed(segments_.back().file, error.value());
  return open_last(unsure);
}

/// Goes on in the last segment. What was found there counts as durable from now on, so its end, which may be in memory
/// alone, is made so. A sync is not enough: after one that failed, pages that never reached the disk are called clean.
result<void> write_ahead_log::open_last(std::string_view unsure) {
  const auto& last = segments_.back();
  file_ = file_descriptor(::open(last.file.c_str(), O_RDWR | O_CLOEXEC));
  if (!file_) return failed(last.file, errno);
  if (auto r = write(unsure, last.used - unsure.size()); !r) return r;
  if (::fsync(file_.get()) != 0 || !sync_directory(directory_)) return failed(last.file, errno);
  return {};
}

// ---- writing -------------------------------------------------------------------------------------------------------

result<void> write_ahead_log::write(std::string_view what, std::uint64_t at) {
  while (!what.empty()) {
    const auto n = ::pwrite(file_.get(), what.data(), what.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(segments_.back().file, errno);
    what.remove_prefix(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return {};
}

result<void> write_ahead_log::append(std::string_view payload) {
  const auto size = record_header + payload.size();
  if (payload.size() > UINT32_MAX) return fail(errc::limit, "a batch of 4 GiB or more can't be written");
  if (!file_ || (segments_.back().used + size > opt_.segment && segments_.back().used > segment_header))
    if (auto r = begin_segment(); !r) return r;
  buffer_.clear();
  put(buffer_, std::uint64_t{0});
  put(buffer_, next_);
  put(buffer_, durable_);
  put(buffer_, static_cast<std::uint32_t>(payload.size()));
  buffer_ += payload;
  const auto sum = hash64(std::string_view(buffer_).substr(8), salt_);
  for (std::size_t i = 0; i < 8; ++i) buffer_[i] = static_cast<char>(sum >> (8 * i));
  auto& last = segments_.back();
  if (auto r = write(buffer_, last.used); !r) return r;
  last.used += size;
  ++next_;
  if (buffer_.capacity() > keep_buffer) buffer_ = {};
  return {};
}

result<void> write_ahead_log::sync() {
  if (!file_) return {};
  if (::fdatasync(file_.get()) != 0) return failed(segments_.back().file, errno);
  durable_ = next_ - 1;
  return {};
}

result<void> write_ahead_log::prepare() {
  if (!spares_.empty()) return {};
  const auto made = directory_ / "new";
  const file_descriptor fd(::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const std::string zeros(std::min(fill_step, opt_.segment), '\0');
  bool ok = static_cast<bool>(fd);
  for (std::size_t at = 0; ok && at < opt_.segment; at += zeros.size())
    ok = ::pwrite(fd.get(), zeros.data(), std::min(zeros.size(), opt_.segment - at), static_cast<off_t>(at)) > 0;
  const auto spare = name_of(directory_, next_, spare_suffix);
  if (ok && ::fsync(fd.get()) == 0 && ::rename(made.c_str(), spare.c_str()) == 0) {
    spares_.push_back(spare);
    return {};
  }
  const int error = errno;
  ::unlink(made.c_str());
  return failed(made, error);
}

/// In a spare file, or else in one that grows: filling it now would keep somebody waiting.
result<void> write_ahead_log::begin_segment() {
  if (durable_ + 1 < next_)
    if (auto r = sync(); !r) return r;
  segments_.push_back({next_, segment_header, name_of(directory_, next_, log_suffix)});
  const auto& file = segments_.back().file;
  if (!spares_.empty()) {
    if (::rename(spares_.back().c_str(), file.c_str()) != 0) return failed(file, errno);
    spares_.pop_back();
  }
  file_ = file_descriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file_ || !sync_directory(directory_)) return failed(file, errno);
  salt_ = fresh_salt();
  std::string header(magic);
  put(header, next_);
  put(header, salt_);
  put(header, hash64(header));
  return write(header, 0);
}

result<void> write_ahead_log::drop(std::uint64_t number) {
  while (segments_.size() > 1 && segments_[1].first <= number + 1) {
    const auto old = std::move(segments_.front());
    segments_.pop_front();
    struct stat s {};
    const bool fits = ::stat(old.file.c_str(), &s) == 0 && static_cast<std::size_t>(s.st_size) <= opt_.segment;
    const bool wanted = fits && segments_.size() + spares_.size() < opt_.keep;
    const auto spare = name_of(directory_, old.first, spare_suffix);
    if ((wanted ? ::rename(old.file.c_str(), spare.c_str()) : ::unlink(old.file.c_str())) != 0)
      return failed(old.file, errno);
    if (wanted) spares_.push_back(spare);
  }
  return {};
}

std::uint64_t write_ahead_log::size() const {
  std::uint64_t n = 0;
  for (const auto& s : segments_) n += s.used;
  return n;
}

}  // namespace coterie
