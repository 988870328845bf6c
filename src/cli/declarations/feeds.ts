/** What a running replicator is asked about its feeds: what is taken, and what runs. */
import type { Command } from 'commander';
import type { FeedAddress } from '../../domain/feed.js';
import { feedAddress, feedName } from '../arguments.js';
import { command, untilInterrupted } from '../program.js';
import { addClient, type JsonFlags } from './subscribers.js';

export function feed(): Command {
  return command('feed', 'Receive more feeds, or fewer, while the replicator runs.')
    .addCommand(add())
    .addCommand(remove())
    .addCommand(list());
}

function add(): Command {
  const does = 'Receive that feed too (64 at most); subscribers get it by add --feed.';
  const made = command('add', does)
    .argument('<name>', '1 to 32 of a-z, 0-9, _ and -', feedName)
    .argument(
      '<address>',
      'IP:PORT that it is sent to; with @IP from that host alone',
      feedAddress,
    );
  return addClient(made).action(async (name: string, address: FeedAddress, flags: JsonFlags) => {
    const run = await import('../commands/feeds.js');
    await untilInterrupted(run.feedAdd({ name, ...address }, flags));
  });
}

function remove(): Command {
  const made = command('remove', 'Receive it no more; its subscribers stay.');
  return addClient(made.argument('<name>', 'any but main', feedName)).action(
    async (name: string, flags: JsonFlags) => {
      const run = await import('../commands/feeds.js');
      await untilInterrupted(run.feedRemove(name, flags));
    },
  );
}

function list(): Command {
  return addClient(command('list', 'List the feeds and what came of each.')).action(
    async (flags: JsonFlags) => {
      const run = await import('../commands/feeds.js');
      await untilInterrupted(run.feedList(flags));
    },
  );
}
