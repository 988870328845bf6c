/**
 * Kernel sockets: raw sockets through which the kernel sends the copies of a subscriber while its
 * neighbour is being asked for. This is their one owner; a TX worker inherits those of its pool and
 * sends on them, the rest happens here.
 *
 *     free ── take() connects ──▶ taken ── giveUp() ──▶ leaving ── release() ──▶ free
 *
 * Prohibited: from taken to free at once. A worker may still follow a table that names the socket,
 * so one that is given up stays connected until publisher.ts says that no worker can be using it.
 */
import assert from 'node:assert';
import { closeSync } from 'node:fs';
import { addon, type Supervisor } from '../memory/addon.js';
import { limits } from '../memory/layout.js';

/** One socket, as others may name it. */
export interface KernelSocket {
  readonly worker: number;
  /** Its place in its worker's pool, which the subscriber table names. */
  readonly index: number;
}

interface Pooled extends KernelSocket {
  readonly fd: number;
  use: 'free' | 'taken' | 'leaving';
  /** Who took it, until it is released. */
  owner: object | null;
}

type SystemCalls = Pick<Supervisor, 'connectRaw' | 'queuedBytes'>;

export interface KernelSocketOptions {
  readonly netns: string | null;
  readonly interfaceName: string;
  /** The interface's address. */
  readonly source: string;
  readonly workers: number;
}

export class KernelSockets {
  private readonly pools: readonly (readonly Pooled[])[];
  private readonly listeners: (() => void)[] = [];

  /**
   * Takes over descriptors of open sockets, by worker. `use`: `leaving` for those of an
   * earlier supervisor, since workers may follow a table that names them.
   */
  constructor(
    fds: readonly (readonly number[])[],
    private readonly calls: SystemCalls = addon,
    use: 'free' | 'leaving' = 'free',
  ) {
    this.pools = fds.map((pool, worker) => {
      assert(
        pool.length <= limits.KERNEL_SOCKETS_MAX,
        'a worker has at most KERNEL_SOCKETS_MAX kernel sockets',
      );
      return pool.map((fd, index): Pooled => ({ worker, index, fd, use, owner: null }));
    });
  }

  /** A full pool for each worker. */
  static open({ netns, interfaceName, source, workers }: KernelSocketOptions): KernelSockets {
    const pools: number[][] = [];
    try {
      for (let worker = 0; worker < workers; worker++) {
        const pool: number[] = [];
        pools.push(pool);
        while (pool.length < limits.KERNEL_SOCKETS_MAX)
          pool.push(addon.openRaw(netns, { source, device: interfaceName }));
      }
      return new KernelSockets(pools);
    } catch (error) {
      for (const fd of pools.flat().reverse()) closeSync(fd);
      throw error;
    }
  }

  /** What a worker inherits. */
  fdsOf(worker: number): number[] {
    return (this.pools[worker] ?? []).map(({ fd }) => fd);
  }

  hasPool(worker: number): boolean {
    return this.pools[worker] !== undefined;
  }

  hasFree(worker: number): boolean {
    return this.pools[worker]?.some(({ use }) => use === 'free') ?? false;
  }

  /** A free socket of that worker, connected; null if there is none or it cannot be connected. */
  take(worker: number, owner: object, ip: string): KernelSocket | null {
    const socket = this.pools[worker]?.find(({ use }) => use === 'free');
    if (socket === undefined) return null;
    try {
      this.calls.connectRaw(socket.fd, ip);
    } catch {
      // The route has gone since it was looked up, or the link is down: the news of it is on its
      // way.
      return null;
    }
    socket.use = 'taken';
    socket.owner = owner;
    return socket;
  }

  /** One that an earlier supervisor has connected for that owner; null where there is none such. */
  inherit(worker: number, index: number, owner: object): KernelSocket | null {
    const socket = this.find({ worker, index });
    if (socket?.use !== 'leaving' || socket.owner !== null) return null;
    socket.use = 'taken';
    socket.owner = owner;
    return socket;
  }

  /** Its subscriber is served in another way from now on, or not any more. */
  giveUp(socket: KernelSocket): void {
    const pooled = this.find(socket);
    assert(pooled?.use === 'taken', `socket ${socket.index} is not taken`);
    pooled.use = 'leaving';
  }

  /** Sockets that were given up. Ask before a table is published; release when all follow it. */
  leaving(): KernelSocket[] {
    return this.pools.flat().filter(({ use }) => use === 'leaving');
  }

  /** No worker can be sending through it any more. It stays connected until it is taken again. */
  release(socket: KernelSocket): void {
    const pooled = this.find(socket);
    const { worker, index } = socket;
    assert(pooled?.use === 'leaving', `socket ${index} of worker ${worker} is not leaving`);
    pooled.owner = null;
    pooled.use = 'free';
    for (const tell of this.listeners) tell();
  }

  /** Calls back whenever a socket is free again. */
  onFree(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Bytes that the kernel holds of that owner, in sockets that it gave up too. */
  queued_bytes(worker: number, owner: object): number {
    let bytes = 0;
    for (const socket of this.pools[worker] ?? [])
      if (socket.owner === owner) bytes += this.calls.queuedBytes(socket.fd);
    return bytes;
  }

  close(): void {
    for (const { fd } of this.pools.flat().reverse()) closeSync(fd);
  }

  private find({ worker, index }: KernelSocket): Pooled | undefined {
    return this.pools[worker]?.[index];
  }
}
