/**
 * A real arena without a network card or a packet: fantail-rx makes it in socket mode, on the
 * loopback, hands it over and is ended. And that of a replicator that runs.
 */
import { closeSync, openSync } from 'node:fs';
import { addon } from '../../src/memory/addon.js';
import { Arena } from '../../src/memory/arena.js';
import { arenasOf } from '../../src/processes/holders.js';
import { beginRx, startRx } from '../../src/processes/programs.js';
import { untilOpened } from '../../src/processes/rx-protocol.js';
import { atEnd } from './program.js';

/** Descriptors, the caller's. */
export interface BareArena {
  readonly arena: number;
  /** Of worker 0. */
  readonly tx: number;
  readonly wake: number;
}

export async function openBareArena(): Promise<BareArena> {
  const waiting = startRx('lo');
  const ours = waiting.socket;
  const wake = addon.eventFd();
  const open = {
    interface: 'lo',
    netns: null,
    modes: ['socket'],
    queues: [0],
    layout: 'split',
    workers: 1,
    listen: { ip: '127.0.0.1', port: 0 },
    promiscuous: false,
    mtu: 1500,
    order: 'rotate',
    busyPoll: false,
    yields: false,
    checksumFull: false,
    paths: { ring: true, bulk: false },
    bulkCpus: [null],
    join: null,
  } as const;
  const listener = addon.openAbstract(null); // nobody adopts it
  const receiver = beginRx(waiting, {
    listener,
    slowPath: null,
    feedChannel: wake, // nobody sends there
    wake,
    workerWakes: [wake],
    cpu: null,
    open,
    adopt: null,
  });
  const end = atEnd(() => receiver.kill());
  const ended = new Promise<void>((resolve) => receiver.onEnd(() => resolve()));
  closeSync(listener);
  const { arena, rx, tx } = await untilOpened(ours, open);
  end();
  await ended;
  closeSync(ours);
  const [receiving = -1] = rx;
  const [transmitting = -1] = tx;
  closeSync(receiving);
  return { arena, tx: transmitting, wake };
}

/** The arena of a data plane, from a process that has it open; not kept open here. */
export function arenaOf(pid: number): Arena {
  const [open] = arenasOf(pid);
  if (open === undefined) throw new Error(`process ${pid} has no arena`);
  // one that is held open here would count as a process of the data path
  const fd = openSync(open.path, 'r+');
  try {
    return new Arena(fd);
  } finally {
    closeSync(fd);
  }
}
