#include "store/incoming.hpp"

#include <system_error>
#include <utility>

#include <sys/stat.h>

namespace coterie {

incoming_tables::incoming_tables(std::filesystem::path directory, std::string name, const rocksdb::Options& o)
    : directory_(std::move(directory)), name_(std::move(name)), options_(o) {}

incoming_tables::~incoming_tables() {
  table_.reset();
  std::error_code ignored;  // the next start removes what is left
  for (const auto& f : files_) std::filesystem::remove(f, ignored);
}

rocksdb::Status incoming_tables::begin() {
  ::mkdir(directory_.c_str(), 0700);  // where it can't be, neither can the file, which tells why
  files_.push_back(directory_ / (name_ + "-" + std::to_string(files_.size()) + ".sst"));
  table_ = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(options_), options_);
  return table_->Open(files_.back());
}

rocksdb::Status incoming_tables::finish() {
  auto s = table_->Finish();
  table_.reset();
  return s;
}

rocksdb::Status incoming_tables::add(const rocksdb::Slice& key, const rocksdb::Slice& value) {
  rocksdb::Status s;
  if (table_ && (table_->FileSize() >= options_.target_file_size_base || key.compare(last_) <= 0)) s = finish();
  if (s.ok() && !table_) s = begin();
  if (s.ok()) s = table_->Put(key, value);
  last_.assign(key.data(), key.size());
  return s;
}

rocksdb::Status incoming_tables::move_to(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) {
  if (table_)
    if (auto s = finish(); !s.ok()) return s;
  if (files_.empty()) return {};
  rocksdb::IngestExternalFileOptions how;
  how.move_files = true;
  how.write_global_seqno = false;  // the manifest has it
  auto s = db.IngestExternalFile(family, files_, how);
  if (s.ok()) files_.clear();
  return s;
}

}  // namespace coterie
