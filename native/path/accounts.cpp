// SPDX-License-Identifier: MIT-0
#include "path/accounts.hpp"

#include <algorithm>

namespace fantail {

Accounts::Accounts(Arena& arena)
    : committed_(&arena.counters(0)),
      ahead_(std::make_unique_for_overwrite<counters[]>(FANTAIL_SUBSCRIBERS_MAX)),
      changes_(FANTAIL_SUBSCRIBERS_MAX) {
  changed_.reserve(FANTAIL_SUBSCRIBERS_MAX);
}

void Accounts::restart(u16 row, u64 epoch, Journal& journal) {
  u64* words = reinterpret_cast<u64*>(&committed_[row]);
  for (u32 word = 1; word < sizeof(counters) / sizeof(u64); ++word)
    journal.set(words[word], u64{0});
  journal.set(words[0], epoch);
  journal.commit();
  changes_[row] = 0; // the copy is the predecessor's
}

void Accounts::end(u16 row, u32 outcome, u32 bytes) {
  if (outcome != 0) return drop(row, std::min(outcome - 1, u32{DROP_COUNT} - 1));
  counters& account = ahead(row, sent);
  ++account.sent;
  account.bytes += bytes;
}

void Accounts::commit_to(Journal& journal) {
  for (const u16 row : changed_) {
    const counters& now = ahead_[row];
    counters& then = committed_[row];
    const u32 changes = changes_[row] & ~copied;
    if (changes & received) journal.set(then.received, now.received);
    if (changes & sent) {
      journal.set(then.sent, now.sent);
      journal.set(then.bytes, now.bytes);
    }
    for (u32 drops = changes / dropped, why = 0; drops != 0; drops >>= 1, ++why)
      if (drops & 1) journal.set(then.drop[why], now.drop[why]);
    changes_[row] = copied;
  }
  changed_.clear();
}

} // namespace fantail
