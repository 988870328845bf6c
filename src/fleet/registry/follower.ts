/**
 * Keeps a mirror of a group true: reads all once, watches from there, goes on by revision after
 * whatever ends the stream, and reads all again where etcd has compacted what it would need, or is
 * another store than before.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../domain/errors.js';
import { log } from '../../terminal/log.js';
import {
  Compacted,
  EtcdAway,
  EtcdRefusal,
  type Event,
  endOf,
  OtherStore,
} from '../etcd/answers.js';
import type { Etcd } from '../etcd/store.js';
import type { Keys } from './keys.js';
import type { Mirror } from './mirror.js';

/**
 * A stream that has been silent for so long is replaced by another, from the next revision on: that
 * costs a request, and needs nobody's word that the connection is alive.
 */
const SILENCE_MS = 5000;
/** After a stream that has failed. */
const AGAIN_MS_MIN = 50;
const AGAIN_MS_MAX = 1000;

/** All keys of a group but the bytes of its modules. */
export async function readGroup(etcd: Etcd, { prefix }: Keys) {
  for (;;) {
    try {
      const modules = `${prefix}modules/`;
      const before = await etcd.read(prefix, modules);
      const { revision } = before;
      const names = await etcd.read(modules, endOf(modules), { keysOnly: true, revision });
      const behind = await etcd.read(endOf(modules), endOf(prefix), { revision });
      const entries = [...before.entries, ...names.entries, ...behind.entries];
      return { entries, revision };
    } catch (error) {
      if (!(error instanceof Compacted)) throw error;
    }
  }
}

export class Follower {
  private readonly stopping = new AbortController();
  private running: Promise<void> | null = null;

  constructor(
    private readonly etcd: Etcd,
    private readonly keys: Keys,
    readonly mirror: Mirror,
    /** Something is different; called after each change. */
    private readonly onChange: () => void,
  ) {}

  /** Reads all; throws where that cannot be done. */
  async read(): Promise<void> {
    const asked = this.mirror.revision;
    const { entries, revision } = await readGroup(this.etcd, this.keys);
    this.mirror.fill(entries, revision, asked);
    this.onChange();
  }

  /** From what was read, or, where nothing was yet, once it can be. */
  start(): void {
    this.running ??= this.run();
  }

  async close(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    let again_ms = AGAIN_MS_MIN;
    let isToBeRead = this.mirror.revision === 0;
    while (!signal.aborted) {
      try {
        if (isToBeRead) await this.read();
        isToBeRead = false;
        for await (const events of this.watch()) {
          again_ms = AGAIN_MS_MIN;
          this.take(events);
        } // it was silent
      } catch (error) {
        isToBeRead = isToBeRead || isCompacted(error);
        await sleep(again_ms, null, { signal }).catch(() => {});
        again_ms = Math.min(again_ms * 2, AGAIN_MS_MAX);
      }
    }
  }

  private take(events: readonly Event[]): void {
    if (events.length === 0) return;
    this.mirror.apply(events);
    this.onChange();
  }

  private watch() {
    const { prefix } = this.keys;
    const options = { silence_ms: SILENCE_MS, signal: this.stopping.signal };
    return this.etcd.watch(prefix, this.mirror.revision + 1, options);
  }
}

/** Whether all is to be read again. Throws what is a fault of our own. */
function isCompacted(error: unknown): boolean {
  if (error instanceof OtherStore)
    log.warn('fleet: etcd is not as it was, as after a restore: all is read again');
  if (error instanceof Compacted) return true;
  if (!(error instanceof EtcdAway || error instanceof EtcdRefusal)) throw error;
  log.debug(`fleet: the watch has ended: ${messageOf(error)}`);
  return false;
}
