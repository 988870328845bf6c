/**
 * Traffic, and a seeded script that kills -9 the worker, fantail-rx and the supervisor (of those
 * that commit, half inside a commit: wire-kill), and with `events` does what else happens to a
 * replicator in its life. What is asked is that every copy ends under one name, and of kills alone
 * that none is lost and none is sent twice.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Stats } from '../../src/domain/statistics.js';
import { Arena } from '../../src/memory/arena.js';
import { load, stock } from '../filters/loading.js';
import { HOSTS, type Link } from '../rig/link.js';
import { eventually, ROOT, run, sleep } from '../rig/program.js';
import type { Random } from '../rig/random.js';
import { Replicator } from '../rig/replicator.js';
import { subscribersOf, type Transferred } from '../rig/scenario.js';
import { replicatedRoute, startFeed, startSink } from '../rig/wire.js';
import { Ledger, VICTIMS, type Victim } from './ledger.js';

export interface SoakOptions {
  readonly link: Link;
  readonly layout: 'inline' | 'split';
  /** Until so many kills are made, or so many seconds are over. */
  readonly kills: number;
  readonly seconds: number;
  /** Packets a second. */
  readonly rate: number;
  readonly subscribers: number;
  /** Not kills alone. */
  readonly events: boolean;
  readonly random: Random;
  readonly onProgress?: (text: string) => void;
}

export interface Soaked {
  readonly ledger: Ledger;
  readonly transferred: Transferred;
  readonly last: Stats;
  /** The one that runs now; the caller ends it. */
  readonly replicator: Replicator;
  /** Every supervisor that there was. */
  readonly all: readonly Replicator[];
}

/** Instructions after the store that begins a commit: some of it is applied by then. */
const STEPS_MAX = 200;
/** Of the pause between two things that happen. */
const PAUSE_MS_MAX = 200;
const PROGRESS_MS = 10_000;
const ARENA_LINK = /^\/memfd:fantail-arena/;

export async function soak(options: SoakOptions): Promise<Soaked> {
  const { link, rate, random } = options;
  const world = new World(options, await startReplicator(options));
  const subscribers = subscribersOf(options.subscribers);
  if (options.events) await load(world.replicator, 'marked', stock('dscp-ttl'));
  await world.replicator.subscribe(subscribers);
  const before = await world.replicator.stats();
  const route = replicatedRoute(link);
  const sink = await startSink(route, { subscribers, extras: options.events ? world.comers : [] });
  const feed = startFeed(route, { rate, count: rate * (options.seconds + 3600) });
  const end = Date.now() + options.seconds * 1000;
  let told = Date.now();
  try {
    while (Date.now() < end && world.ledger.kills.length < options.kills) {
      await sleep(random.below(PAUSE_MS_MAX));
      await world.next();
      if (Date.now() - told < PROGRESS_MS) continue;
      told = Date.now();
      const { kills, inside } = world.ledger;
      options.onProgress?.(`${kills.length} kills, ${inside} of them inside a commit`);
    }
    await world.calm();
    const { sent } = await feed.stop();
    const { last } = await world.replicator.settled();
    const sunk = await sink.stop();
    return {
      ledger: world.ledger,
      // what the killed have used would pass for others' use of the machine
      transferred: { ...sunk, sent, before, isLoud: false },
      last,
      replicator: world.replicator,
      all: world.all,
    };
  } catch (error) {
    if (error instanceof Error)
      error.message += world.all.map((each) => `\n--- ${each.told()}`).join('');
    for (const each of world.all) each.close();
    throw error;
  }
}

const startReplicator = ({ link, layout }: SoakOptions): Promise<Replicator> =>
  Replicator.start({ link, flags: ['--mode', 'copy', '--layout', layout] });

/** What is killed and changed. */
class World {
  readonly ledger = new Ledger();
  readonly all: Replicator[];
  /** Subscribers that come and go. */
  readonly comers = HOSTS.map((ip, index) => ({ ip, port: 20_000 + index }));
  private readonly arena: Arena;
  private readonly present = new Set<number>();
  private marked = false;

  constructor(
    private readonly options: SoakOptions,
    public replicator: Replicator,
  ) {
    this.all = [replicator];
    this.arena = arenaOf(replicator.receiver().pid);
  }

  async next(): Promise<void> {
    const { random, events } = this.options;
    if (events && random.below(3) !== 0) await this.event();
    else await this.kill(VICTIMS[random.below(VICTIMS.length)] ?? 'worker');
    if (random.below(10) === 0) this.ledger.respawns_ms.push(respawn_ms());
  }

  /** Whoever serves the packets is there again. */
  async calm(): Promise<void> {
    await this.bothStandBy();
  }

  private async kill(victim: Victim): Promise<void> {
    // or the outage is the start of a Node, for which the rings have no room
    await this.bothStandBy();
    if (victim === 'supervisor') return this.killSupervisor();
    const pid = this.holderOf(victim);
    if (pid === 0) throw new Error(`nobody has the place of ${victim}`);
    const journal = this.journalOf(victim);
    const isAimed = journal !== null && this.options.random.below(2) === 0;
    const began_ms = performance.now();
    let isInside = false;
    if (isAimed) isInside = this.killInside(pid, journal);
    else process.kill(pid, 'SIGKILL');
    const killed_ms = isAimed ? performance.now() : began_ms;
    await eventually(`${victim} is replaced`, () => ![pid, 0].includes(this.holderOf(victim)));
    this.ledger.kills.push({ victim, isInside, outage_ms: performance.now() - killed_ms });
  }

  private async killSupervisor(): Promise<void> {
    const began_ms = performance.now();
    process.kill(this.replicator.program.pid, 'SIGKILL');
    await this.replicator.program.wait();
    this.replicator = await startReplicator(this.options);
    this.all.push(this.replicator);
    const outage_ms = performance.now() - began_ms;
    this.ledger.kills.push({ victim: 'supervisor', isInside: false, outage_ms });
  }

  private bothStandBy(): Promise<void> {
    return eventually('both stand by', () => this.replicator.standbys().length === 2);
  }

  /** The process that has the place; 0: none. */
  private holderOf(victim: Victim): number {
    if (victim === 'worker') return this.arena.u32(this.arena.worker(0, 'pid'));
    if (this.options.layout === 'split') return this.arena.u32(this.arena.receiver(0, 'pid'));
    // inline it has no part in the path, and no word of its own
    const running = this.all.flatMap((each) => each.processes());
    return running.find(({ command }) => command.includes('fantail-rx'))?.pid ?? 0;
  }

  private journalOf(victim: Victim): number | null {
    if (victim === 'worker') return this.arena.worker(0, 'journal');
    return this.options.layout === 'split' ? this.arena.receiver(0, 'journal') : null;
  }

  private killInside(pid: number, journal: number): boolean {
    const steps = this.options.random.below(STEPS_MAX);
    const args = ['--pid', String(pid), '--at', String(journal), '--steps', String(steps)];
    const told = run(join(ROOT, 'native', 'build', 'wire-kill'), args);
    return (JSON.parse(told) as { inside: boolean }).inside; // wire-kill's
  }

  // ---- What else happens ----

  private async event(): Promise<void> {
    const { random, link } = this.options;
    const events: Record<string, () => Promise<unknown> | unknown> = {
      'filter changed': () => {
        this.marked = !this.marked;
        return this.replicator.ask({ op: 'filter.use', name: this.marked ? 'marked' : 'rewrite' });
      },
      'subscriber came or went': () => this.comeOrGo(random.below(this.comers.length)),
      'link down and up': async () => {
        link.ip('replicator', 'link', 'set', 'rep0', 'down');
        await sleep(random.below(PAUSE_MS_MAX));
        link.ip('replicator', 'link', 'set', 'rep0', 'up');
      },
      'neighbours forgotten': () => link.ip('replicator', 'neigh', 'flush', 'dev', 'rep0'),
      'address added and removed': () => {
        for (const how of ['add', 'del'])
          link.ip('replicator', 'addr', how, '10.77.0.3/24', 'dev', 'rep0');
      },
      'control flooded': () =>
        Promise.all(Array.from({ length: 100 }, () => this.replicator.list())),
    };
    const names = Object.keys(events);
    const name = names[random.below(names.length)] ?? '';
    await events[name]?.();
    this.ledger.did(name);
  }

  private async comeOrGo(which: number): Promise<void> {
    const comer = this.comers[which];
    if (comer === undefined) return;
    if (this.present.delete(which)) await this.replicator.remove(comer);
    else {
      this.present.add(which);
      await this.replicator.add(comer);
    }
  }
}

/** The arena of a data plane, from a process that has it open; not kept open here. */
function arenaOf(pid: number): Arena {
  const folder = `/proc/${pid}/fd`;
  const fd = readdirSync(folder).find((name) => ARENA_LINK.test(readlinkSync(join(folder, name))));
  if (fd === undefined) throw new Error(`process ${pid} has no arena`);
  // one that is held open here would count as a process of the data path
  const own = openSync(join(folder, fd), 'r+');
  try {
    return new Arena(own);
  } finally {
    closeSync(own);
  }
}

function respawn_ms(): number {
  const began_ms = performance.now();
  spawnSync('/bin/true');
  return performance.now() - began_ms;
}
