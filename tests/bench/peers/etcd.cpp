// Durable puts to etcd by its own protocol, gRPC, at the leader: one connection, so many calls under way.
#include "etcd.hpp"

namespace {

using namespace coterie::peers;

struct put {
  grpc::ClientContext context;
  etcdserverpb::PutResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::PutResponse>> reader;
  clock::time_point begun;
};

}  // namespace

int main(int argc, char** argv) {
  const auto a = parse(argc, argv);
  const auto channel = connect(leader_of(a.endpoints));
  const auto stub = etcdserverpb::KV::NewStub(channel);
  grpc::CompletionQueue queue;
  measured m(a.lasts);
  const std::string value(a.size, 'x');
  std::uint64_t number = 0;
  unsigned under_way = 0;
  const auto start = [&] {
    etcdserverpb::PutRequest r;
    r.set_key(fmt::format("bench/{}", ++number));
    r.set_value(value);
    auto p = std::make_unique<put>();
    p->begun = clock::now();
    p->reader = stub->AsyncPut(&p->context, r, &queue);
    auto* raw = p.release();
    raw->reader->Finish(&raw->response, &raw->status, raw);
    ++under_way;
  };
  for (unsigned i = 0; i < a.in_flight; ++i) start();
  void* tag = nullptr;
  for (bool ok = false; under_way > 0 && queue.Next(&tag, &ok);) {
    const std::unique_ptr<put> p(static_cast<put*>(tag));
    --under_way;
    if (!p->status.ok()) fail("a put failed: " + p->status.error_message());
    m.done(p->begun);
    if (!m.over()) start();
  }
  m.print("etcd", "append", a.in_flight);
}
