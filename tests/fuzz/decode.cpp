// All decoders: the first byte chooses one, the rest is its input. What decodes must survive being encoded and decoded
// again. Checksums are made right first, so that damage reaches what is behind them.
//
// With libFuzzer this is a target. Without (COTERIE_STANDALONE) it is a program: `fuzz_decode N [SEED]` damages N valid
// messages at random; `fuzz_decode --corpus FOLDER` writes a valid message of each kind.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "fuzz/standalone.hpp"
#include "unit/wire/samples.hpp"

namespace {

using coterie::byte_view;
using coterie::bytes;

const std::vector<samples::kind>& kinds() {
  static const auto all = samples::all_kinds();
  return all;
}

void decode_one(const samples::kind& kind, byte_view input) {
  const auto once = kind.again(input);
  if (once && kind.again(*once) != once) {
    std::fprintf(stderr, "%s: does not survive a second round trip\n", kind.name.c_str());
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const byte_view input(reinterpret_cast<const std::byte*>(data), size);
  decode_one(kinds()[data[0] % kinds().size()], input.subspan(1));
  return 0;
}

#ifdef COTERIE_STANDALONE
namespace {

int write_corpus(const std::string& folder) {
  for (std::size_t i = 0; i < kinds().size(); ++i) {
    coterie::rng r(i);
    const auto message = kinds()[i].make(r.below(kinds()[i].variants), r);
    std::ofstream out(folder + "/" + std::to_string(i) + "_" + kinds()[i].name, std::ios::binary);
    out.put(static_cast<char>(i))
        .write(reinterpret_cast<const char*>(message.data()), static_cast<std::streamsize>(message.size()));
    if (!out.flush()) return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--corpus") return write_corpus(argv[2]);
  const std::uint64_t rounds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10'000;
  const std::uint64_t first_seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    coterie::rng r(first_seed + i);
    const auto& kind = kinds()[r.below(kinds().size())];
    bytes message = kind.make(r.below(kind.variants), r);
    for (auto n = r.below(8); n > 0; --n) coterie::test::damage(message, r);
    decode_one(kind, message);
  }
  std::printf("%llu messages\n", static_cast<unsigned long long>(rounds));
  return 0;
}
#endif
