// The state that is being installed, as tables beside the database, which takes them in as they are: no buffer to fill,
// nothing to merge afterwards (RocksDB's bulk ingestion). Private to src/store.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>

namespace coterie {

class incoming_tables {
 public:
  /// Files are made in `directory`, itself made when there is one, and called by `name` and a number; they go with
  /// this.
  incoming_tables(std::filesystem::path directory, std::string name, const rocksdb::Options&);
  ~incoming_tables();
  incoming_tables(const incoming_tables&) = delete;
  incoming_tables& operator=(const incoming_tables&) = delete;

  /// Keys in ascending order, as a state is sent: where they are not, another table is begun. The last value of a key
  /// wins. After an error only the destructor may be called.
  rocksdb::Status add(const rocksdb::Slice& key, const rocksdb::Slice& value);
  /// Durably, all or nothing. Nothing may have been added to the database for these keys that is not flushed.
  rocksdb::Status move_to(rocksdb::DB&, rocksdb::ColumnFamilyHandle*);

 private:
  rocksdb::Status begin();
  rocksdb::Status finish();

  const std::filesystem::path directory_;
  const std::string name_;
  const rocksdb::Options options_;
  std::unique_ptr<rocksdb::SstFileWriter> table_;
  std::vector<std::string> files_;
  std::string last_;  ///< the key
};

}  // namespace coterie
