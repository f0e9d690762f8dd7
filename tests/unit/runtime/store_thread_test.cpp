// The store's thread: order, group commit, and that its first error is the last thing it says.
#include "runtime/store_thread.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "engine/recovery.hpp"
#include "support/catch.hpp"
#include "unit/runtime/places.hpp"

namespace {

using namespace coterie;
using namespace std::chrono_literals;
using runtime::store_thread;

/// Collects what the thread says.
class said {
 public:
  store_thread::sink sink() {
    return [this](std::vector<engine::event> e) {
      const std::scoped_lock lock(mutex_);
      for (auto& x : e) events_.push_back(std::move(x));
      more_.notify_all();
    };
  }
  template <class Event>
  std::vector<Event> wait(std::size_t count) {
    std::unique_lock lock(mutex_);
    std::vector<Event> r;
    more_.wait_for(lock, 10s, [&] {
      r.clear();
      for (const auto& e : events_)
        if (const auto* x = std::get_if<Event>(&e)) r.push_back(*x);
      return r.size() >= count;
    });
    REQUIRE(r.size() >= count);
    return r;
  }
  std::size_t count() {
    const std::scoped_lock lock(mutex_);
    return events_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<engine::event> events_;
};

bytes key(const std::string& s) { return to_bytes(s); }
engine::write put(std::uint64_t sequence, const std::string& k, bool sync) {
  return {sequence, sync, {disk::put(disk::space::state, key(k), to_bytes("v" + k))}};
}
engine::read all(std::uint64_t id, std::uint64_t view = 0) {
  engine::read r;
  r.id = engine::read_id(id);
  r.view = view;
  return r;
}

struct fixture {
  test::temporary_directory place;
  said heard;
  coterie::store* disk = nullptr;
  std::unique_ptr<store_thread> thread;

  explicit fixture(store_thread::options o = {}) {
    auto s = coterie::store::open(place / "data");
    REQUIRE(s);
    disk = s->get();
    thread = std::make_unique<store_thread>(std::move(*s), heard.sink(), o);
  }
};

}  // namespace

TEST_CASE("writes that wait together are one synced step with one answer") {
  fixture f;
  const auto before = f.disk->syncs();
  std::vector<store_thread::task> tasks;
  for (std::uint64_t i = 1; i <= 100; ++i) tasks.emplace_back(put(i, std::to_string(i), i % 2 == 0));
  f.thread->submit(std::move(tasks));
  const auto done = f.heard.wait<engine::written>(1);
  REQUIRE(done.size() == 1);
  REQUIRE(done[0].sequence == 100);
  REQUIRE(f.disk->syncs() == before + 1);
}

TEST_CASE("writes of which none asks for it are not synced") {
  fixture f;
  const auto before = f.disk->syncs();
  f.thread->submit({put(1, "a", false), put(2, "b", false)});
  REQUIRE(f.heard.wait<engine::written>(1)[0].sequence == 2);
  REQUIRE(f.disk->syncs() == before);
}

TEST_CASE("a read that takes long keeps no write waiting, and sees none that came after it") {
  test::temporary_directory place;
  said heard;
  std::atomic<bool> passed = false;  // by the write
  const auto sink = [&, tell = heard.sink()](std::vector<engine::event> e) {
    // The reading thread stands still here until the write behind it is done.
    if (std::holds_alternative<engine::read_done>(e.front())) passed = heard.wait<engine::written>(2).size() == 2;
    tell(std::move(e));
  };
  store_thread t(*coterie::store::open(place / "data"), sink, {});
  t.submit({put(1, "a", true), all(1), engine::open_view{7}, put(2, "b", true)});
  REQUIRE(heard.wait<engine::read_done>(1)[0].items.size() == 1);
  REQUIRE(passed);
  // A view that is closed meanwhile stays for those that read it.
  t.submit({all(2, 7), engine::close_view{7}, put(3, "c", true)});
  REQUIRE(heard.wait<engine::read_done>(2)[1].items.size() == 1);
}

TEST_CASE("a quiet write is done and told with what comes after it") {
  fixture f;
  auto quiet = put(1, "a", false);
  quiet.quiet = true;
  f.thread->submit({quiet});
  f.thread->submit({put(2, "b", true), all(1)});
  const auto page = f.heard.wait<engine::read_done>(1)[0];
  REQUIRE(page.items.size() == 2);
  const auto done = f.heard.wait<engine::written>(1);
  REQUIRE(done.size() == 1);
  REQUIRE(done[0].sequence == 2);
}

TEST_CASE("what is read stands between the writes, in order") {
  fixture f;
  f.thread->submit({put(1, "a", false), all(1), put(2, "b", true), all(2)});
  const auto pages = f.heard.wait<engine::read_done>(2);
  REQUIRE(pages[0].id == engine::read_id(1));
  REQUIRE(pages[0].items.size() == 1);
  REQUIRE(pages[1].items.size() == 2);
  REQUIRE(pages[1].items[1] == disk::item{key("b"), to_bytes("vb")});
  REQUIRE(f.heard.wait<engine::written>(2)[1].sequence == 2);
}

TEST_CASE("a view keeps what it saw; an install replaces the state and is answered") {
  fixture f;
  f.thread->submit({put(1, "old", true), engine::open_view{7}, engine::install_begin{},
                    engine::install_chunk{2, {{key("new"), to_bytes("1")}}},
                    engine::install_commit{3, {disk::put(disk::space::meta, key("applied"), to_bytes("x"))}}, all(1),
                    all(2, 7), engine::close_view{7}});
  const auto pages = f.heard.wait<engine::read_done>(2);
  REQUIRE(pages[0].items == std::vector<disk::item>{{key("new"), to_bytes("1")}});
  REQUIRE(pages[1].items == std::vector<disk::item>{{key("old"), to_bytes("vold")}});
  REQUIRE(f.heard.wait<engine::written>(3)[2].sequence == 3);
}

TEST_CASE("after the first error nothing reaches the disk and nothing is answered (rostam#94)", "[lesson]") {
  fixture f;
  f.thread->submit({all(1, 99), put(1, "late", true), all(2)});  // there is no view 99
  REQUIRE_FALSE(f.heard.wait<engine::disk_failed>(1)[0].reason.empty());
  f.thread->submit({put(2, "later", true)});
  f.thread.reset();
  REQUIRE(f.heard.count() == 1);
  auto again = coterie::store::open(f.place / "data");
  REQUIRE(again);
  REQUIRE((*again)->range({})->items.empty());
}

namespace {

engine::write append(std::uint64_t sequence, std::uint64_t index, bool sync = true, group_id group = meta_group) {
  return {sequence, sync, {disk::put(disk::space::log, engine::log_key(group, log_index(index)), to_bytes("e"))}};
}
engine::write cut(std::uint64_t sequence, bytes from, bytes to) {
  return {sequence, true, {disk::erase_range(disk::space::log, std::move(from), std::move(to))}};
}

/// The synced mark that a restart finds after this work. Before it entries 1 to 3 were durable and noted.
std::uint64_t mark_after(std::vector<store_thread::task> work) {
  fixture f({.log_ends = {}, .watch_period = 0ms});
  auto settle = [&f, id = std::uint64_t{0}](std::size_t turns) mutable {
    for (std::size_t i = 0; i < turns; ++i) {  // the thread watches once a turn
      f.thread->submit({all(++id)});
      f.heard.wait<engine::read_done>(id);
    }
  };
  f.thread->submit({append(1, 1), append(2, 2), append(3, 3)});
  settle(2);
  f.thread->submit(std::move(work));
  settle(2);
  f.thread.reset();
  auto again = coterie::store::open(f.place / "data");
  REQUIRE(again);
  return (*again)->synced();
}

}  // namespace

TEST_CASE("the synced mark follows the log up when it is durable, and goes down before it is cut") {
  REQUIRE(mark_after({}) == 3);
  REQUIRE(mark_after({append(4, 4)}) == 4);
  REQUIRE(mark_after({append(4, 4, false)}) == 3);
  REQUIRE(mark_after({cut(4, engine::log_key(meta_group, log_index(2)), {})}) == 1);
  REQUIRE(mark_after({cut(4, engine::log_key(meta_group, log_index(2)), {}), append(5, 2, false)}) == 2);
  REQUIRE(mark_after({cut(4, {}, engine::log_key(meta_group, log_index(3)))}) == 3);  // a prefix
  REQUIRE(mark_after({cut(4, {}, {})}) == 0);
}

TEST_CASE("the synced mark counts the logs of all groups") {
  const group_id one{1}, two{2};
  REQUIRE(mark_after({append(4, 1, true, one), append(5, 5, true, two)}) == 9);
  REQUIRE(mark_after({append(4, 5, true, one),
                      cut(5, engine::log_key(one, log_index(3)), engine::log_key(two, log_index(0)))}) == 5);
  REQUIRE(mark_after({append(4, 5, true, one),
                      cut(5, engine::log_key(one, log_index(0)), engine::log_key(one, log_index(3)))}) == 8);
  REQUIRE(mark_after({append(4, 5, true, two),
                      cut(5, engine::log_key(meta_group, log_index(1)), engine::log_key(one, log_index(0)))}) == 5);
}

TEST_CASE("what all groups wrote in one turn is one write with one sync") {
  fixture f;
  const auto before = f.disk->syncs();
  f.thread->submit({append(1, 1), append(2, 1, true, group_id(1)), append(3, 1, true, group_id(2))});
  const auto done = f.heard.wait<engine::written>(1);
  REQUIRE(done.size() == 1);
  REQUIRE(done[0].sequence == 3);
  REQUIRE(f.disk->syncs() == before + 1);
}
