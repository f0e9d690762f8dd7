// The genesis record's bytes and the seed list's digest; checks of options. Knows nothing of ballots or messages.
#include <algorithm>
#include <string_view>

#include "swim/genesis.hpp"

namespace coterie::swim {
namespace {

/// Little-endian, whatever the machine.
class layout {
 public:
  template <class T>
  layout& number(T v) {
    for (std::size_t i = 0; i < sizeof(T); ++i) out_.push_back(static_cast<std::byte>((v >> (8 * i)) & 0xff));
    return *this;
  }
  layout& size(std::size_t n) { return number(static_cast<std::uint32_t>(n)); }
  layout& blob(byte_view b) {
    size(b.size());
    out_.insert(out_.end(), b.begin(), b.end());
    return *this;
  }
  layout& text(std::string_view s) { return blob(as_bytes(s)); }
  layout& id(node_id v) { return number(v.hi).number(v.lo); }
  layout& ids(const std::vector<node_id>& v) {
    size(v.size());
    for (const node_id i : v) id(i);
    return *this;
  }
  layout& at(const address& a) { return text(a.host).number(a.port); }
  bytes take() { return std::move(out_); }

 private:
  bytes out_;
};

}  // namespace

bytes genesis_record::canonical() const {
  layout l;
  l.number(std::uint32_t{1}).text(cluster).number(digest).number(nonce).size(seeds.size());
  for (const seed_slot& s : seeds) l.id(s.id).text(s.name).at(s.at).blob(s.public_key);
  return l.ids(voters).ids(standbys).take();
}

cluster_id genesis_record::id() const {
  const hash128_value h = hash128(canonical());
  return {h.hi, h.lo};
}

bool genesis_record::lists(node_id id) const {
  return id && std::any_of(seeds.begin(), seeds.end(), [&](const seed_slot& s) { return s.id == id; });
}

std::uint64_t genesis::digest_of(const std::vector<address>& sorted) {
  layout l;
  l.size(sorted.size());
  for (const address& a : sorted) l.at(a);
  return hash64(l.take());
}

address genesis::normal(address a) {
  if (a.port == 0) a.port = default_port;
  for (char& c : a.host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return a;
}

result<std::vector<address>> genesis::validate(const genesis_options& o) {
  if (o.cluster.empty() || o.cluster.size() > 255 || o.name.size() > 255) {
    return fail(errc::bad_name, "a cluster name has 1 to 255 bytes, a node name at most 255");
  }
  if (o.seeds.size() > max_seeds) return fail(errc::limit, fmt::format("more than {} seeds", max_seeds));
  if (o.seeds.empty() && !o.bootstrap_single) {
    return fail(errc::bad_argument, "no seeds: give the seed list, or --bootstrap single for a cluster of one node");
  }
  if (o.seeds.size() > 1 && o.bootstrap_single) {
    return fail(errc::bad_argument, "--bootstrap single is for one node: its seed list is empty or the node itself");
  }
  if (o.redial <= 0s || o.stable_margin <= o.redial || o.rank_delay <= 0s || o.ballot_timeout <= 0s || o.settle < 0s) {
    return fail(errc::bad_argument, "genesis times must be positive, and stable_margin longer than redial");
  }
  std::vector<address> list = o.seeds;
  for (address& a : list) {
    if (a.host.empty()) return fail(errc::bad_argument, "a seed has no host");
    a = normal(std::move(a));
  }
  std::sort(list.begin(), list.end());
  if (const auto twice = std::adjacent_find(list.begin(), list.end()); twice != list.end()) {
    return fail(errc::bad_argument, "seed " + twice->str() + " is listed twice");
  }
  const std::set<std::size_t> without(o.without.begin(), o.without.end());
  if (without.size() != o.without.size() || (!without.empty() && *without.rbegin() >= list.size())) {
    return fail(errc::bad_argument, "--without names a slot twice, or one that is not in the seed list");
  }
  if (!without.empty() && without.size() > list.size() - (list.size() / 2 + 1)) {
    return fail(errc::limit, fmt::format("--without may drop at most {} of {} seeds: a majority of the list must stay",
                                         list.size() - (list.size() / 2 + 1), list.size()));
  }
  return list;
}

}  // namespace coterie::swim
