// A log line as data: the pure layers say it, a driver prints it.
#pragma once

#include <string>

namespace coterie {

enum class log_level { debug, info, warn, error };

struct log_line {
  log_level level = log_level::info;
  std::string text;
};

}  // namespace coterie
