// SPDX-License-Identifier: MIT-0
#include "feeds/feed_sockets.hpp"

#include <algorithm>
#include <charconv>

#include "host/descriptor_passing.hpp"
#include "shm/store.hpp"

namespace fantail {

namespace {

struct Label {
  u32 index = FANTAIL_FEEDS_MAX;
  u64 epoch = 0;
};

Label parse(const std::string& text) {
  Label label;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, label.index);
  if (index.ptr != end) std::from_chars(index.ptr + 1, end, label.epoch);
  return label;
}

} // namespace

FeedSockets::FeedSockets(std::vector<int> first, int channel, const FeedSocket& listen)
    : first_(std::move(first)), channel_(channel), of_(first_.size()) {
  for (u32 link = 0; link < links(); ++link) {
    of_[link].reserve(FANTAIL_FEEDS_MAX);
    of_[link].push_back({first_[link], listen.ip, listen.port});
  }
}

void FeedSockets::follow(const table& now) {
  if (channel_ < 0) return;
  const auto is_held = [this, &now](u32 feed) {
    const table_feed& row = now.feeds[feed];
    return peek(row.epoch) == 0 || row.is_open == 0 || held_[feed].epoch == row.epoch;
  };
  bool is_current = true;
  for (u32 feed = 1; feed < FANTAIL_FEEDS_MAX && is_current; ++feed)
    is_current = is_held(feed) && (held_[feed].epoch == 0 || held_[feed].epoch > now.feed_epochs ||
                                   now.feeds[feed].is_open != 0);
  if (is_current) return;
  take_in();
  list(now);
}

/// All messages that there are; one of a later feed may be among them, and is kept for its table.
void FeedSockets::take_in() {
  for (;;) {
    Received received = receive_message(channel_);
    if (received.what != Received::What::message) return;
    const auto [index, epoch] = parse(received.text);
    if (index == 0 || index >= FANTAIL_FEEDS_MAX || epoch <= held_[index].epoch ||
        received.fds.size() != links())
      continue; // not ours, or of a feed whose successor is held
    held_[index] = {epoch, std::move(received.fds)};
  }
}

void FeedSockets::list(const table& now) {
  ++version_;
  for (std::vector<FeedSocket>& sockets : of_) sockets.resize(1);
  for (u32 feed = 1; feed < FANTAIL_FEEDS_MAX; ++feed) {
    Held& held = held_[feed];
    const table_feed& row = now.feeds[feed];
    if (row.is_open != 0 && held.epoch == row.epoch && held.epoch != 0)
      for (u32 link = 0; link < links(); ++link)
        of_[link].push_back({held.fds[link].get(), row.ip, row.port});
    else if (held.epoch <= now.feed_epochs) held = {};
  }
}

} // namespace fantail
