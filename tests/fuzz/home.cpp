// What a node finds in its data directory: any contents give a node or a refusal. The input is a list of records: space
// (1 byte), key (its length in 1 byte before it), value (length in 2 bytes, little endian).
//
// With libFuzzer this is a target. Without (COTERIE_STANDALONE) it is a program: `fuzz_home N FOLDER` damages the files
// of the folder N times at random; `fuzz_home --corpus FOLDER` writes what the nodes of a simulated cluster leave on
// their disks.
#include <algorithm>
#include <array>
#include <map>

#include "engine/engine.hpp"
#include "fuzz/standalone.hpp"

namespace {

using namespace coterie;

disk::image image_of(byte_view in) {
  std::array<std::map<bytes, bytes>, 4> spaces;
  while (in.size() >= 2) {
    const auto space = static_cast<std::size_t>(in[0]) % spaces.size();
    const auto key = std::min<std::size_t>(static_cast<std::size_t>(in[1]), in.size() - 2);
    const auto k = in.subspan(2, key);
    in = in.subspan(2 + key);
    if (in.size() < 2) break;
    const auto length = static_cast<std::size_t>(in[0]) | static_cast<std::size_t>(in[1]) << 8;
    const auto v = in.subspan(2, std::min(length, in.size() - 2));
    spaces[space][bytes(k.begin(), k.end())] = bytes(v.begin(), v.end());
    in = in.subspan(2 + v.size());
  }
  disk::image image;
  const auto list = [&](disk::space s) {
    const auto& m = spaces[static_cast<std::size_t>(s)];
    return std::vector<disk::item>(m.begin(), m.end());
  };
  image.meta = list(disk::space::meta);
  image.log = list(disk::space::log);
  image.state = list(disk::space::state);
  image.local = list(disk::space::local);
  return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto image = image_of({reinterpret_cast<const std::byte*>(data), size});
  auto found = engine::recover(image, 1, 1, size % 2 == 1);
  if (!found) return 0;
  // What was accepted has to be something that a node can start with.
  engine::options o;
  o.name = "a";
  o.advertise = {"10.0.0.1", 7400};
  o.seeds = {o.advertise, {"10.0.0.2", 7400}, {"10.0.0.3", 7400}};
  times now{instant(1h), boot_instant(1h), wall_time(1'800'000'000'000ms)};
  engine::engine e(o, std::move(found->state), now, 1);
  std::vector<engine::action> out;
  for (int i = 0; i < 3; ++i) {
    const engine::event woken = engine::wake{};
    e.step({&woken, 1}, now, out);
    now.steady += 500ms;
    now.boot += 500ms;
  }
  return 0;
}

#ifdef COTERIE_STANDALONE
#include "sim/world.hpp"

namespace {

void add(std::string& out, disk::space s, const std::vector<disk::item>& items) {
  for (const auto& [k, v] : items) {
    if (k.size() > 255 || v.size() > 65'535) continue;
    out += static_cast<char>(s);
    out += static_cast<char>(k.size());
    out += as_text(k);
    out += static_cast<char>(v.size() & 0xff);
    out += static_cast<char>(v.size() >> 8);
    out += as_text(v);
  }
}

int write_corpus(const std::string& folder) {
  sim::settings s;
  s.joiners = 1;
  s.compact_after = 20;
  s.keep_entries = 5;
  sim::world w(s, 1, planted_bug::none, false);
  w.watch.violation = [](const std::string& v) { std::fprintf(stderr, "%s\n", v.c_str()); };
  for (std::size_t i = 0; i < w.size(); ++i) w.start(i);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 8; ++i) {
      w.run_until(w.now() + 1s);
      w.call(0, wire::append_journal{"orders", "", {{"created", "1"}}});
      w.call(1, wire::acquire_lock{"deploy", "", 100ms});
      w.call(2, wire::begin_process{"orders", 5});
    }
    for (std::size_t i = 0; i < w.size(); ++i) {
      const auto image = w.disk(i).load({}, {});
      std::string out;
      add(out, disk::space::meta, image.meta);
      add(out, disk::space::log, image.log);
      add(out, disk::space::state, image.state);
      add(out, disk::space::local, image.local);
      if (!test::write_file(folder + "/" + w.name(i) + std::to_string(round), out)) return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--corpus") return write_corpus(argv[2]);
  return test::damage_corpus(argc, argv);
}
#endif
