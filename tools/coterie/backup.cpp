// Snapshots of the cluster's state as files, and new clusters made of them. Knows the file, which is the node's answers
// frame by frame, not what is in them.
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.hpp"
#include "coterie/backup.hpp"
#include "output.hpp"

namespace coterie::command {

namespace {

/// A new file that has its name only when it is whole and on the disk.
class new_file {
 public:
  explicit new_file(std::string name) : name_(std::move(name)), part_(name_ + ".part") {
    if (::access(name_.c_str(), F_OK) == 0)
      throw command_error(failed, fmt::format("{} is there already: name another file", name_));
    fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) give_up("written");
  }
  ~new_file() {
    if (fd_ >= 0) ::close(fd_);
    if (!done_) ::unlink(part_.c_str());
  }
  new_file(const new_file&) = delete;

  void write(const bytes& b) {
    for (std::size_t at = 0; at < b.size();) {
      const auto n = ::write(fd_, b.data() + at, b.size() - at);
      if (n < 0 && errno != EINTR) give_up("written");
      if (n > 0) at += static_cast<std::size_t>(n);
    }
    size_ += b.size();
  }
  void finish() {
    if (::fsync(fd_) != 0 || ::rename(part_.c_str(), name_.c_str()) != 0) give_up("finished");
    done_ = true;
  }
  std::size_t size() const { return size_; }

 private:
  [[noreturn]] void give_up(const char* what) {
    throw command_error(failed, fmt::format("{} can't be {}: {}", part_, what, std::strerror(errno)));
  }
  std::string name_, part_;
  int fd_ = -1;
  std::size_t size_ = 0;
  bool done_ = false;
};

new_home home_of(const backup_options& o) { return {o.data, o.name, o.bind, o.cluster}; }

int tell(const common& c, const backup_options& o, const restored& r) {
  if (c.as_json) {
    print(json{
        {"cluster", r.cluster}, {"cluster_id", r.cluster_id}, {"index", r.index}, {"warning", or_null(r.warning)}});
    return ok;
  }
  if (!r.warning.empty()) print_text(fmt::format("{} {}\n", paint(colour::yellow, "warning:"), r.warning));
  print_text(
      fmt::format("{} holds the first node of a new cluster {} ({}), with the state after entry {}\n"
                  "start it with: coterie run --name {} --cluster {} --bind {} --seeds {} --data {}\n"
                  "and the others with the same --seeds and empty directories\n",
                  o.data, r.cluster, r.cluster_id, r.index, o.name, r.cluster, o.bind, o.bind, o.data));
  return ok;
}

}  // namespace

int cluster_snapshot(const common& c, const backup_options& o) {
  new_file file(o.file);
  auto node = c.connect();
  wire::read_snapshot next{0, {}, o.stale};
  std::size_t keys = 0;
  for (std::uint64_t number = 1;; ++number) {
    const auto page = node.ask<wire::snapshot_page>(next, c.patience());
    file.write(wire::encode(number, page, !page.more));
    keys += page.items.size();
    if (!page.more) {
      file.finish();
      if (c.as_json)
        print(json{{"file", o.file},
                   {"cluster", page.cluster},
                   {"cluster_id", page.id.str()},
                   {"index", page.index.value},
                   {"keys", keys},
                   {"bytes", file.size()}});
      else
        print_text(fmt::format("{}: cluster {} after entry {}, {} keys, {:.1f} MiB\n", o.file, page.cluster,
                               page.index.value, keys, static_cast<double>(file.size()) / (1 << 20)));
      return ok;
    }
    next.view = page.view;
    next.from = page.items.back().first;
    next.from.push_back(std::byte{0});
  }
}

int cluster_restore(const common& c, const backup_options& o) {
  try {
    return tell(c, o, restore_snapshot(o.file, home_of(o)));
  } catch (const error& e) {
    raise(e);
  }
}

int cluster_recover(const common& c, const backup_options& o) {
  try {
    return tell(c, o, recover_from_home(o.from, home_of(o)));
  } catch (const error& e) {
    raise(e);
  }
}

}  // namespace coterie::command
