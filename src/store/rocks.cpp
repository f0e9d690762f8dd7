#include "store/rocks.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_partitioner.h>
#include <rocksdb/table.h>

#include <fmt/format.h>

#include "store/diary.hpp"

namespace coterie {
namespace {

const char* const family_names[] = {"meta", "log", "state", "local", "default"};
constexpr std::size_t state_class = 8 + 1;  // a generation, and the first byte of the key
constexpr std::size_t small_table = 2 << 20;
constexpr std::size_t small_buffer = 4 << 20;  // of spaces that hold little

/// Tells the latch about errors of flushes and compactions, and keeps RocksDB from "recovering" after an error: a sync
/// that succeeds after one that failed proves nothing (docs/consensus.md 1.6, cockroach#37102).
class error_listener final : public rocksdb::EventListener {
 public:
  explicit error_listener(std::shared_ptr<failure_latch> latch) : latch_(std::move(latch)) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* s) override { latch_->close(*s); }
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo&) override { latch_->flushed(); }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  std::shared_ptr<failure_latch> latch_;
};

/// Keeps files from being deleted once the latch is closed. When the manifest could not be synced RocksDB deletes the
/// tables that it was to name; but it may name them, and the next start would miss them.
class keeping_files final : public rocksdb::FileSystemWrapper {
 public:
  explicit keeping_files(std::shared_ptr<failure_latch> latch)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), latch_(std::move(latch)) {}
  const char* Name() const override { return "keeping_files"; }
  rocksdb::IOStatus DeleteFile(const std::string& file, const rocksdb::IOOptions& o,
                               rocksdb::IODebugContext* d) override {
    return latch_->closed() ? rocksdb::IOStatus::Aborted("the disk failed") : FileSystemWrapper::DeleteFile(file, o, d);
  }

 private:
  std::shared_ptr<failure_latch> latch_;
};

rocksdb::DBOptions db_options(const std::string& directory, const store::options& o, rocksdb::Env* files,
                              std::shared_ptr<failure_latch> latch) {
  rocksdb::DBOptions r;
  r.env = files;
  r.create_if_missing = true;
  r.create_missing_column_families = true;
  // docs/consensus.md 1.6
  r.atomic_flush = true;
  r.max_bgerror_resume_count = 0;
  r.listeners = {std::make_shared<error_listener>(std::move(latch))};
  r.avoid_flush_during_shutdown = true;  // closing does no I/O that could fail
  // bounded memory, files and threads
  r.db_write_buffer_size = 4 * o.write_buffer;
  r.max_open_files = o.max_open_files;
  r.max_file_opening_threads = 1;
  r.max_background_jobs = 2;
  r.max_manifest_file_size = 4 << 20;
  r.bytes_per_sync = 1 << 20;  // of tables in the background: no burst of dirty pages before the log's next sync
  // one writer: nothing to spin for
  r.enable_write_thread_adaptive_yield = false;
  r.allow_concurrent_memtable_write = false;
  // a small diary, no statistics
  r.info_log = std::make_shared<diary>(directory);
  r.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  r.stats_dump_period_sec = 0;
  r.stats_persist_period_sec = 0;
  return r;
}

rocksdb::CompressionType compression() {
  const auto all = rocksdb::GetSupportedCompressions();
  return std::find(all.begin(), all.end(), rocksdb::kLZ4Compression) != all.end() ? rocksdb::kLZ4Compression
                                                                                  : rocksdb::kNoCompression;
}

std::vector<rocksdb::ColumnFamilyDescriptor> families_of(const store::options& o) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(o.block_cache);
  table.format_version = 5;
  std::vector<rocksdb::ColumnFamilyDescriptor> r;
  for (const std::string name : family_names) {
    rocksdb::ColumnFamilyOptions f;
    f.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    f.write_buffer_size = name == "log" || name == "state" ? o.write_buffer : std::min(small_buffer, o.write_buffer);
    f.target_file_size_base = 16 << 20;
    f.max_bytes_for_level_base = 64 << 20;
    if (name == "state") {
      // Most of it only grows at its end. Small tables of one class of keys each, and a small level to merge new ones
      // with: what lies behind that is moved down as it is, not written again and again.
      f.target_file_size_base = std::min(small_table, o.write_buffer);
      f.max_bytes_for_level_base = 8 << 20;
      f.sst_partitioner_factory = rocksdb::NewSstPartitionerFixedPrefixFactory(state_class);
    }
    // the log is short-lived: most of it never reaches a lower level
    f.compression = name == "state" || name == "local" ? compression() : rocksdb::kNoCompression;
    r.emplace_back(name, f);
  }
  return r;
}

}  // namespace

void failure_latch::close(const rocksdb::Status& s) {
  // No harm if it can't be written: then the same is found again.
  if (s.IsCorruption()) std::ofstream(std::filesystem::path(directory_) / suspect_file) << s.ToString() << '\n';
  close(s.ToString());
}

void failure_latch::close(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (closed()) return;
  reason_ = reason;
  closed_.store(true, std::memory_order_release);
}

failure failure_latch::why() const {
  const std::lock_guard lock(mutex_);
  return {errc::closed,
          fmt::format("the disk under {} failed ({}): make sure that it is sound and has space, then start "
                      "the node again",
                      directory_, reason_)};
}

rocks::~rocks() {
  for (auto* f : families) delete f;
}

std::optional<std::string> rocks::damaged_table(const std::vector<std::size_t>& of) const {
  for (const auto i : of) {
    rocksdb::ColumnFamilyMetaData all;
    db->GetColumnFamilyMetaData(families[i], &all);
    const auto options = db->GetOptions(families[i]);
    for (const auto& level : all.levels)
      for (const auto& file : level.files) {
        rocksdb::SstFileReader reader(options);
        auto s = reader.Open(file.db_path + file.name);
        if (s.ok()) s = reader.VerifyChecksum();
        if (!s.ok()) return s.ToString();
      }
  }
  return std::nullopt;
}

rocksdb::Status rocks::replace(std::size_t family, const store::options& o) {
  const auto described = families_of(o)[family];
  auto s = db->DropColumnFamily(families[family]);
  if (!s.ok()) return s;
  delete std::exchange(families[family], nullptr);
  return db->CreateColumnFamily(described.options, described.name, &families[family]);
}

rocksdb::Status rocks::merge_tables(bool on) {
  for (auto* f : families)
    if (auto s = db->SetOptions(f, {{"disable_auto_compactions", on ? "false" : "true"}}); !s.ok()) return s;
  return {};
}

bool rocks::exists(const std::string& directory) {
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(directory, error)) {
    const auto name = file.path().filename().string();
    if (name == "CURRENT" || name.ends_with(".log") || name.ends_with(".sst")) return true;
  }
  return false;
}

rocksdb::Status rocks::open(const std::string& directory, const store::options& o,
                            const std::shared_ptr<failure_latch>& latch, bool suspect, rocks& to) {
  // RocksDB would take a directory without CURRENT for an empty one and begin anew
  std::error_code ignored;
  if (exists(directory) && !std::filesystem::exists(std::filesystem::path(directory) / "CURRENT", ignored)) {
    return rocksdb::Status::Corruption("the file CURRENT is missing");
  }
  rocksdb::DB* db = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  auto families = families_of(o);
  for (auto& f : families) f.options.disable_auto_compactions = suspect;
  to.files = rocksdb::NewCompositeEnv(std::make_shared<keeping_files>(latch));
  const auto s = rocksdb::DB::Open(db_options(directory, o, to.files.get(), latch), directory, families, &handles, &db);
  if (s.ok()) {
    to.db.reset(db);
    std::copy(handles.begin(), handles.end(), to.families.begin());
  }
  return s;
}

}  // namespace coterie
