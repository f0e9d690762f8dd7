// Locks of etcd, by its lock service: one client at the leader that takes a new one each time, or several on all
// servers that want the same one, each with a lease and a connection of its own.
#include <mutex>
#include <thread>

#include "etcd.hpp"
#include "etcd_lock.grpc.pb.h"

namespace {

using namespace coterie::peers;

void check(const grpc::Status& s, const char* what) {
  if (!s.ok()) fail(fmt::format("{} failed: {}", what, s.error_message()));
}

class client {
 public:
  explicit client(const std::string& endpoint) : channel_(connect(endpoint)), lock_(v3lockpb::Lock::NewStub(channel_)) {
    grpc::ClientContext context;
    etcdserverpb::LeaseGrantRequest r;
    r.set_ttl(600);
    etcdserverpb::LeaseGrantResponse granted;
    check(etcdserverpb::Lease::NewStub(channel_)->LeaseGrant(&context, r, &granted), "a lease");
    lease_ = granted.id();
  }
  std::string acquire(const std::string& name) {
    grpc::ClientContext context;
    v3lockpb::LockRequest r;
    r.set_name(name);
    r.set_lease(lease_);
    v3lockpb::LockResponse got;
    check(lock_->Lock(&context, r, &got), "a lock");
    return got.key();
  }
  void release(const std::string& key) {
    grpc::ClientContext context;
    v3lockpb::UnlockRequest r;
    r.set_key(key);
    v3lockpb::UnlockResponse done;
    check(lock_->Unlock(&context, r, &done), "a release");
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v3lockpb::Lock::Stub> lock_;
  std::int64_t lease_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto a = parse(argc, argv, {"lock"});
  const auto leader = leader_of(a.endpoints);
  if (a.in_flight == 1) {
    client c(leader);
    measured m(a);
    for (int n = 0; !m.over();) {
      const auto begun = clock::now();
      c.release(c.acquire(fmt::format("bench.{}", ++n)));
      m.done(begun);
    }
    m.print("etcd", "lock and release, a new one each", 1);
    return 0;
  }
  std::vector<std::unique_ptr<client>> clients;
  for (unsigned i = 0; i < a.in_flight; ++i)
    clients.push_back(std::make_unique<client>(a.endpoints[i % a.endpoints.size()]));
  measured m(a);
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (auto& c : clients)
    threads.emplace_back([&] {
      while (!m.over()) {
        const auto begun = clock::now();
        const auto key = c->acquire("bench");
        {
          const std::scoped_lock lock(mutex);
          m.done(begun);
        }
        c->release(key);
      }
    });
  for (auto& t : threads) t.join();
  m.print("etcd", "hand-over", a.in_flight);
}
