// SPDX-License-Identifier: MIT-0
//
// What the engine is told: its flags, and commands, words of the form name=value.
#pragma once

#include <map>
#include <sstream>
#include <string>

#include "frame.hpp"

namespace bench {

class Words {
public:
  explicit Words(const std::string& line) {
    std::istringstream stream(line);
    stream >> verb;
    for (std::string word; stream >> word;) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) throw Error(EINVAL, word + " is not name=value");
      values_[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  u64 number(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Error(EINVAL, verb + " needs " + name);
    return std::stoull(found->second);
  }
  std::string verb;

private:
  std::map<std::string, std::string> values_;
};

struct Settings {
  explicit Settings(const Flags& flags)
      : interface(flags.text("--interface")), object(flags.text("--object")),
        source_mac(flags.mac("--source-mac")), target_mac(flags.mac("--target-mac")),
        seed(flags.number("--seed")) {}
  std::string interface, object;
  Mac source_mac, target_mac;
  u64 seed;

  Ends ends() const {
    return {source_mac, target_mac, host_address(SOURCE_HOST), host_address(REPLICATOR_HOST)};
  }
};

} // namespace bench
