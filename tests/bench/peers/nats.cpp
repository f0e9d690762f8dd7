// Publishes to a JetStream stream with three file replicas, each acknowledged by itself, at the server that leads it.
// (JetStream does not sync each message to the disk: what it acknowledges is in the memory of a majority.)
#include <map>
#include <string>

#include <nats/nats.h>

#include "load.hpp"

namespace {

using namespace coterie::peers;
using namespace std::chrono_literals;

void must(natsStatus s, const char* what) {
  if (s != NATS_OK) fail(fmt::format("{}: {}", what, natsStatus_GetText(s)));
}

struct connection {
  natsConnection* nc = nullptr;
  jsCtx* js = nullptr;
  /// As soon as the server listens.
  explicit connection(const std::string& at) {
    natsStatus s = NATS_ERR;
    for (const auto until = clock::now() + 30s; clock::now() < until && s != NATS_OK;)
      s = natsConnection_ConnectTo(&nc, ("nats://" + at).c_str());
    must(s, "connecting");
    must(natsConnection_JetStream(&js, nc, nullptr), "JetStream");
  }
  ~connection() {
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
  }
  connection(const connection&) = delete;
};

/// Makes the stream as soon as the servers are ready for it.
void make_stream(const std::string& at) {
  const connection c(at);
  jsStreamConfig cfg;
  jsStreamConfig_Init(&cfg);
  const char* subjects[] = {"bench"};
  cfg.Name = "BENCH";
  cfg.Subjects = subjects;
  cfg.SubjectsLen = 1;
  cfg.Replicas = 3;
  cfg.Storage = js_FileStorage;
  natsStatus s = NATS_ERR;
  for (const auto until = clock::now() + 30s; clock::now() < until && s != NATS_OK;) {
    jsErrCode code{};
    jsStreamInfo* info = nullptr;
    s = js_AddStream(&info, c.js, &cfg, nullptr, &code);
    jsStreamInfo_Destroy(info);
  }
  must(s, "making the stream");
}

/// The endpoint of the server that leads the stream: servers are named after their endpoints.
std::string leader_of(const std::vector<std::string>& endpoints) {
  const connection c(endpoints.front());
  for (const auto until = clock::now() + 30s; clock::now() < until;) {
    jsStreamInfo* info = nullptr;
    jsErrCode code{};
    if (js_GetStreamInfo(&info, c.js, "BENCH", nullptr, &code) != NATS_OK) continue;
    const std::string leader = info->Cluster != nullptr && info->Cluster->Leader ? info->Cluster->Leader : "";
    jsStreamInfo_Destroy(info);
    if (std::find(endpoints.begin(), endpoints.end(), leader) != endpoints.end()) return leader;
  }
  fail("the stream has no leader");
}

}  // namespace

int main(int argc, char** argv) {
  const auto a = parse(argc, argv, {"append"});
  make_stream(a.endpoints.front());
  const connection c(leader_of(a.endpoints));
  natsSubscription* acks = nullptr;
  must(natsConnection_SubscribeSync(&acks, c.nc, "_INBOX.bench.*"), "subscribing");
  measured m(a);
  const std::string value(a.size, 'x'), inbox = "_INBOX.bench.";
  std::map<std::string, clock::time_point> pending;
  std::uint64_t number = 0;
  const auto start = [&] {
    const auto reply = inbox + std::to_string(++number);
    pending[reply] = clock::now();
    must(natsConnection_PublishRequest(c.nc, "bench", reply.c_str(), value.data(), static_cast<int>(value.size())),
         "publishing");
  };
  for (unsigned i = 0; i < a.in_flight; ++i) start();
  must(natsConnection_Flush(c.nc), "flushing");
  while (!pending.empty()) {
    natsMsg* msg = nullptr;
    must(natsSubscription_NextMsg(&msg, acks, 10'000), "waiting for an acknowledgement");
    const auto it = pending.find(natsMsg_GetSubject(msg));
    const std::string said(natsMsg_GetData(msg), static_cast<std::size_t>(natsMsg_GetDataLength(msg)));
    natsMsg_Destroy(msg);
    if (said.find("\"error\"") != std::string::npos) fail("a publish failed: " + said);
    if (it == pending.end()) continue;
    m.done(it->second);
    pending.erase(it);
    if (!m.over()) start();
  }
  m.print("jetstream");
  natsSubscription_Destroy(acks);
}
