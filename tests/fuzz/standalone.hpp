// A fuzz target without libFuzzer: the files of its corpus, damaged at random.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/random.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace coterie::test {

/// One of the usual kinds of damage: flipped bits, a foreign byte, a number at its limits, a cut, a doubled part.
inline void damage(bytes& b, rng& r) {
  if (b.empty()) return;
  const std::size_t at = r.below(b.size());
  switch (r.below(5)) {
    case 0:
      b[at] ^= std::byte{1} << r.below(8);
      break;
    case 1:
      b[at] = static_cast<std::byte>(r.next());
      break;
    case 2: {
      const std::size_t word = at / 8 * 8;
      for (std::size_t i = word; i < std::min(word + 4, b.size()); ++i)
        b[i] = r.chance(0.5) ? std::byte{0xff} : std::byte{0};
      break;
    }
    case 3:
      b.resize(at);
      break;
    case 4: {
      const bytes part(b.begin(), b.begin() + static_cast<std::ptrdiff_t>(at / 8 * 8));
      b.insert(b.end(), part.begin(), part.end());
      break;
    }
  }
}

inline bool write_file(const std::string& name, const std::string& contents) {
  std::ofstream out(name, std::ios::binary);
  out.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  return static_cast<bool>(out.flush());
}

/// PROGRAM ROUNDS FOLDER [SEED]
inline int damage_corpus(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s ROUNDS FOLDER [SEED]\n", argv[0]);
    return 2;
  }
  std::vector<bytes> corpus;
  for (const auto& f : std::filesystem::directory_iterator(argv[2])) {
    std::ifstream in(f.path(), std::ios::binary);
    corpus.push_back(to_bytes(std::string(std::istreambuf_iterator<char>(in), {})));
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: there is nothing in %s\n", argv[0], argv[2]);
    return 2;
  }
  const auto rounds = std::strtoull(argv[1], nullptr, 10);
  const auto first_seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    rng r = rng(first_seed + i).fork();
    auto input = corpus[r.below(corpus.size())];
    for (auto n = r.below(6); n > 0; --n) damage(input, r);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  }
  std::printf("%llu inputs\n", static_cast<unsigned long long>(rounds));
  return 0;
}

}  // namespace coterie::test
