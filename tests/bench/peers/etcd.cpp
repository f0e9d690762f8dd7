// Etcd by its own protocol, gRPC: durable puts at the leader and linearizable reads at a follower, over one connection
// with so many calls under way; and, for tests/bench/peers/peers.py, what it takes to see a leader go and a member
// come.
#include <atomic>
#include <thread>

#include <unistd.h>

#include "etcd.hpp"

namespace {

using namespace coterie::peers;

template <class Response>
struct call {
  grpc::ClientContext context;
  Response response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
  clock::time_point begun = clock::now();
};

/// `begin(context, queue)` begins the next call, until `over`.
template <class Response, class Begin, class Over>
void keep_under_way(unsigned in_flight, measured& m, Begin begin, Over over) {
  grpc::CompletionQueue queue;
  unsigned under_way = 0;
  const auto start = [&] {
    auto c = std::make_unique<call<Response>>();
    c->reader = begin(&c->context, &queue);
    auto* raw = c.release();
    raw->reader->Finish(&raw->response, &raw->status, raw);
    ++under_way;
  };
  for (unsigned i = 0; i < in_flight; ++i) start();
  void* tag = nullptr;
  for (bool ok = false; under_way > 0 && queue.Next(&tag, &ok);) {
    const std::unique_ptr<call<Response>> c(static_cast<call<Response>*>(tag));
    --under_way;
    if (!c->status.ok()) fail("a call failed: " + c->status.error_message());
    m.done(c->begun);
    if (!over()) start();
  }
  m.print("etcd");
}
template <class Response, class Begin>
void keep_under_way(const arguments& a, Begin begin) {
  measured m(a);
  keep_under_way<Response>(a.in_flight, m, begin, [&] { return m.over(); });
}

etcdserverpb::PutRequest put_of(std::uint64_t number, std::size_t size) {
  etcdserverpb::PutRequest r;
  r.set_key(fmt::format("bench/{}", number));
  r.set_value(std::string(size, 'x'));
  return r;
}

/// Puts at the leader.
class puts {
 public:
  explicit puts(const arguments& a)
      : stub_(etcdserverpb::KV::NewStub(connect(leader_of(a.endpoints)))), size_(a.size) {}
  auto operator()(grpc::ClientContext* context, grpc::CompletionQueue* queue) {
    return stub_->AsyncPut(context, put_of(++number_, size_), queue);
  }
  std::uint64_t number() const { return number_; }

 private:
  std::unique_ptr<etcdserverpb::KV::Stub> stub_;
  std::size_t size_;
  std::uint64_t number_ = 0;
};

void append(const arguments& a) {
  puts p(a);
  keep_under_way<etcdserverpb::PutResponse>(a, std::ref(p));
}

/// State of so many MiB, in puts of as many bytes as an append of `bench catchup` has.
void fill(arguments a) {
  const auto mib = static_cast<std::size_t>(a.lasts.count() / 1'000);
  a.size = 64'000;
  puts p(a);
  measured m(a);
  keep_under_way<etcdserverpb::PutResponse>(a.in_flight, m, std::ref(p),
                                            [&] { return p.number() * a.size >= mib << 20; });
}

/// Until the standard input ends.
void meanwhile(const arguments& a) {
  std::atomic<bool> over = false;
  std::jthread watch([&] {
    for (char c = 0; ::read(STDIN_FILENO, &c, 1) > 0;) {
    }
    over = true;
  });
  puts p(a);
  measured m("append meanwhile", a.in_flight);
  keep_under_way<etcdserverpb::PutResponse>(a.in_flight, m, std::ref(p), [&] { return over.load(); });
}

/// A member with the last address, by the server at the first one.
void add(const arguments& a) {
  etcdserverpb::MemberAddRequest r;
  r.add_peer_urls(a.endpoints.back());
  grpc::ClientContext context;
  etcdserverpb::MemberAddResponse done;
  const auto s = etcdserverpb::Cluster::NewStub(connect(a.endpoints.front()))->MemberAdd(&context, r, &done);
  if (!s.ok()) fail("no member was added: " + s.error_message());
}
/// Waits until the server at the last address has what the one at the first has now.
void caught_up(const arguments& a) {
  const auto goal = status_of(a.endpoints.front())->raft_applied_index();
  for (const auto until = clock::now() + std::chrono::minutes(10); clock::now() < until;) {
    if (const auto s = status_of(a.endpoints.back()); s && s->raft_applied_index() >= goal) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  fail("the new member did not catch up within 10 minutes");
}

/// Of a key that is not there.
void read(const arguments& a) {
  const auto stub = etcdserverpb::KV::NewStub(connect(follower_of(a.endpoints)));
  etcdserverpb::RangeRequest r;
  r.set_key("none");
  keep_under_way<etcdserverpb::RangeResponse>(
      a, [&](auto* context, auto* queue) { return stub->AsyncRange(context, r, queue); });
}

/// Puts, one at a time; for each that succeeded a line with its beginning and its end in nanoseconds of the monotonic
/// clock. One that takes longer than 0.1 s is given up and begun anew.
void watch(const arguments& a) {
  const auto stub = etcdserverpb::KV::NewStub(connect(a.endpoints.front()));
  std::uint64_t number = 0;
  for (const auto end = clock::now() + a.lasts; clock::now() < end;) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
    etcdserverpb::PutResponse done;
    const auto begun = clock::now();
    if (!stub->Put(&context, put_of(++number, a.size), &done).ok()) continue;
    fmt::print("{} {}\n", begun.time_since_epoch().count(), clock::now().time_since_epoch().count());
    std::fflush(stdout);
  }
}

void transfer(const arguments& a) {
  etcdserverpb::MoveLeaderRequest r;
  r.set_target_id(status_of(follower_of(a.endpoints))->header().member_id());
  grpc::ClientContext context;
  etcdserverpb::MoveLeaderResponse done;
  const auto s = etcdserverpb::Maintenance::NewStub(connect(leader_of(a.endpoints)))->MoveLeader(&context, r, &done);
  if (!s.ok()) fail("the leader did not hand over: " + s.error_message());
}

}  // namespace

int main(int argc, char** argv) {
  const auto a =
      parse(argc, argv, {"append", "read", "leader", "watch", "transfer", "fill", "meanwhile", "add", "caught_up"});
  if (a.what == "append") append(a);
  if (a.what == "read") read(a);
  if (a.what == "leader") fmt::print("{}\n", leader_of(a.endpoints));
  if (a.what == "watch") watch(a);
  if (a.what == "transfer") transfer(a);
  if (a.what == "fill") fill(a);
  if (a.what == "meanwhile") meanwhile(a);
  if (a.what == "add") add(a);
  if (a.what == "caught_up") caught_up(a);
}
