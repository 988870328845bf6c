/**
 * A replicator that serves the demo's subscribers, and the control channel to it: started,
 * connected, subscribed; closed in reverse.
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Fantail } from '../api/fantail.js';
import { whenFollowed } from '../api/patience.js';
import { CONTROL_PORT } from '../control/constants.js';
import { Failure } from '../domain/errors.js';
import { type Listener, type ReplicatorOptions, ReplicatorProcess } from './helpers.js';

/** What the replicator is started with; the control port is found here. */
export type ServingOptions = Omit<ReplicatorOptions, 'controlPort'>;

/** Listeners that the demo subscribes by itself; the one after them is left to the user. */
export const SUBSCRIBED_COUNT = 3;
const CONTROL_PORTS_TRIED_MAX = 100;
const STARTS_MAX = 5;
const NEIGHBOURS_MS_MAX = 2000;
const LOOK_MS = 50;

function isFreePort(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** The first TCP port of the loopback that is free, from the default control port on. */
async function freeControlPort(): Promise<number> {
  for (let port = CONTROL_PORT; port < CONTROL_PORT + CONTROL_PORTS_TRIED_MAX; port++)
    if (await isFreePort(port)) return port;
  throw new Failure(
    `no TCP port from ${CONTROL_PORT} on is free on 127.0.0.1; end what holds them`,
  );
}

/**
 * Starts it on the first free control port; another demo may take that first, and then the next one
 * is tried.
 */
async function startReplicator(options: ServingOptions): Promise<ReplicatorProcess> {
  for (let tries = 1; ; tries++) {
    const controlPort = await freeControlPort();
    try {
      return await ReplicatorProcess.start({ ...options, controlPort });
    } catch (thrown) {
      if (tries === STARTS_MAX || (await isFreePort(controlPort))) throw thrown;
    }
  }
}

export class Serving {
  private constructor(
    private readonly replicator: ReplicatorProcess,
    /** Its address as clients are given it. */
    readonly control: string,
    readonly fantail: Fantail,
  ) {}

  static async start(options: ServingOptions): Promise<Serving> {
    const replicator = await startReplicator(options);
    process.once('exit', () => replicator.closeNow());
    const control = `ws://127.0.0.1:${replicator.controlPort}`;
    try {
      return new Serving(replicator, control, await connect({ control }));
    } catch (thrown) {
      await replicator.close();
      throw thrown;
    }
  }

  /** Resolves with a sentence when the replicator ends, whatever the reason. */
  get ended(): Promise<string> {
    return this.replicator.ended;
  }

  /**
   * Subscribes the first of them, and waits until the MAC address of each is known, so that none
   * owes its first packets to the kernel's help. From then on everything is owed to them.
   */
  async subscribe(listeners: readonly Listener[]): Promise<void> {
    const subscribed = listeners.slice(0, SUBSCRIBED_COUNT);
    for (const { endpoint } of subscribed) await whenFollowed(() => this.fantail.add(endpoint));
    const deadline = performance.now() + NEIGHBOURS_MS_MAX;
    while (performance.now() < deadline) {
      const rows = await this.fantail.list();
      if (rows.every((row) => row.state === 'live')) break;
      await sleep(LOOK_MS);
    }
    await Promise.all(subscribed.map((listener) => listener.restart(0)));
  }

  async close(): Promise<void> {
    this.fantail.close();
    await this.replicator.close();
  }
}
