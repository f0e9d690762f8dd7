// What the drivers of etcd share.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "etcd.grpc.pb.h"
#include "load.hpp"

namespace coterie::peers {

inline std::shared_ptr<grpc::Channel> connect(const std::string& endpoint) {
  // A connection of its own for each client: channels to one endpoint would share one.
  grpc::ChannelArguments a;
  a.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), a);
}

/// Nothing when the endpoint does not answer.
inline std::optional<etcdserverpb::StatusResponse> status_of(const std::string& endpoint) {
  const auto stub = etcdserverpb::Maintenance::NewStub(connect(endpoint));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  etcdserverpb::StatusResponse s;
  if (!stub->Status(&context, {}, &s).ok()) return {};
  return s;
}

/// An endpoint that leads, or one that follows.
inline std::string find(const std::vector<std::string>& endpoints, bool leads) {
  for (const auto until = clock::now() + std::chrono::seconds(30); clock::now() < until;)
    for (const auto& e : endpoints)
      if (const auto s = status_of(e); s && s->leader() != 0 && (s->leader() == s->header().member_id()) == leads)
        return e;
  fail("etcd has no leader");
}
inline std::string leader_of(const std::vector<std::string>& endpoints) { return find(endpoints, true); }
inline std::string follower_of(const std::vector<std::string>& endpoints) { return find(endpoints, false); }

}  // namespace coterie::peers
