/**
 * What a soak kills and changes, a step at a time, in an order of the seed's: the worker,
 * fantail-rx (of those that commit, most inside a commit or a call: wire-kill), the supervisor, one
 * that is just adopting, whoever stands by; and, of what else happens to a replicator, an event.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { nativeFile } from '../../src/domain/installation.js';
import type { Arena } from '../../src/memory/arena.js';
import { arenaOf } from '../rig/arena.js';
import { HOSTS, type Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, ROOT, run, sleep } from '../rig/program.js';
import type { Random } from '../rig/random.js';
import { Replicator, replicatorProcesses, startUp } from '../rig/replicator.js';
import { flagsOf } from '../rig/scenario.js';
import { type Inside, Ledger, type Victim } from './ledger.js';
import { SECOND } from './traffic.js';

/** Of AF_XDP. */
export const MODES = ['copy', 'skb', 'zerocopy'] as const;
/** How copies leave. */
export const WAYS = ['ring', 'bulk', 'pump', 'auto'] as const;

export interface SoakOptions {
  readonly link: Link;
  readonly layout: 'inline' | 'split';
  readonly mode: (typeof MODES)[number];
  readonly transmit?: (typeof WAYS)[number];
  /** Until so many kills are made, or so many seconds are over. */
  readonly kills: number;
  readonly seconds: number;
  /** Packets a second. */
  readonly rate: number;
  readonly subscribers: number;
  /** Not kills alone. */
  readonly events: boolean;
  readonly random: Random;
  /** `share`: done, of 1. */
  readonly onProgress?: (share: number, note: string) => void;
}

/** What applies a commit that has begun, and how many of its instructions it is let run. */
const APPLY = 'fantail::Journal::apply(unsigned int)';
const STEPS_MAX = 200;
/** Of the pause between two things that happen. */
export const PAUSE_MS_MAX = 200;
/** About what a supervisor takes from its start to ready. */
const ADOPTION_MS_MAX = 1200;
/** One in so many of the kills that could be inside a commit is not aimed. */
const PLAIN_EVERY = 8;
/** One in so many of a worker's that sends in bulk is aimed at a commit, the others at a call. */
const COMMIT_EVERY = 5;
/** What a worker has run of its call, at most, when it is killed. */
const CALL_NS_MAX = 20_000;

/** Of rep0, as ip link makes it. */
const MTU = 1500;
const THIRD = { name: 'third', port: 9200 } as const;
export const OTHER_MAC = '02:77:00:00:01:01';

/** Who is killed in a round: mostly those that commit. */
const ROUND: readonly Victim[] = [
  ...(['worker', 'worker', 'worker', 'fantail-rx', 'fantail-rx'] as const),
  ...(['supervisor', 'adopter', 'standby'] as const),
];

export const startOptions = ({ link, layout, mode, transmit = 'ring' }: SoakOptions) => {
  // so many cores that one is the pump's, or that none is
  const [calls, pump] = layout === 'inline' ? ['0', '0,1'] : ['0,1', '0,1,2'];
  const words =
    transmit === 'pump'
      ? ['bulk', '--cpus', pump]
      : [transmit, ...(transmit === 'ring' ? [] : ['--cpus', calls])];
  const feed = `${SECOND.name}=${REPLICATOR_IP}:${SECOND.port}`;
  return { link, flags: flagsOf(mode)(layout, '--transmit', ...words, '--feed', feed) };
};

/** Whether it hit what it aimed at. */
function wireKill(words: Record<string, string | number>): boolean {
  const args = Object.entries(words).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const told = run(join(ROOT, 'native', 'build', 'wire-kill'), args);
  return (JSON.parse(told) as { inside: boolean }).inside; // wire-kill's
}

/** What is killed and changed. */
export class World {
  readonly ledger = new Ledger();
  readonly all: Replicator[];
  /** Supervisors that were killed before they were ready. */
  readonly adopters: Awaited<ReturnType<typeof startUp>>[] = [];
  /** Subscribers that come and go. */
  readonly comers = HOSTS.map((ip, index) => ({ ip, port: 20_000 + index }));
  private readonly arena: Arena;
  private readonly present = new Set<number>();
  private marked = false;
  private isThirdThere = false;
  /** Victims whose turn is still to come, and kills so far that could be inside a commit. */
  private left: Victim[] = [];
  private aims = 0;

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
    else await this.kill(this.nextVictim());
    if (random.below(10) === 0) this.ledger.respawns_ms.push(respawn_ms());
  }

  private async kill(victim: Victim): Promise<void> {
    // or the outage is the start of a Node, for which the rings have no room
    await this.bothStandBy();
    if (victim === 'supervisor') return this.killSupervisor();
    if (victim === 'adopter') return this.killAdopter();
    if (victim === 'standby') return this.killStandby();
    const pid = this.holderOf(victim);
    if (pid === 0) throw new Error(`nobody has the place of ${victim}`);
    const journal = this.journalOf(victim);
    const isAimed = journal !== null && this.aims++ % PLAIN_EVERY !== PLAIN_EVERY - 1;
    const inside = isAimed ? this.killInside(victim, pid, journal) : null;
    if (!isAimed) process.kill(pid, 'SIGKILL');
    const killed_ms = performance.now();
    const isReplaced = () => ![pid, 0].includes(this.holderOf(victim));
    await eventually(`${victim} is replaced`, isReplaced, undefined, 1);
    this.ledger.kills.push({ victim, inside, outage_ms: performance.now() - killed_ms });
  }

  private async killSupervisor(): Promise<void> {
    const began_ms = performance.now();
    process.kill(this.replicator.program.pid, 'SIGKILL');
    await this.replicator.program.wait();
    await this.adopt('supervisor', began_ms);
  }

  /** At any moment of what it does until it is ready, or just after. */
  private async killAdopter(): Promise<void> {
    process.kill(this.replicator.program.pid, 'SIGKILL');
    await this.replicator.program.wait();
    const adopter = await startUp(startOptions(this.options));
    this.adopters.push(adopter);
    await sleep(this.options.random.below(ADOPTION_MS_MAX));
    const began_ms = performance.now();
    process.kill(adopter.program.pid, 'SIGKILL');
    await adopter.program.wait();
    adopter.program.close();
    await this.adopt('adopter', began_ms);
  }

  private async adopt(victim: Victim, began_ms: number): Promise<void> {
    this.replicator = await Replicator.start(startOptions(this.options));
    this.all.push(this.replicator);
    const outage_ms = performance.now() - began_ms;
    this.ledger.kills.push({ victim, inside: null, outage_ms });
  }

  /** One of the two that wait for somebody's place. */
  private async killStandby(): Promise<void> {
    const both = this.replicator.standbys();
    const { pid } = both[this.options.random.below(both.length)] ?? {};
    if (pid === undefined) throw new Error('nobody stands by');
    const began_ms = performance.now();
    process.kill(pid, 'SIGKILL');
    await eventually('it has ended', () =>
      this.replicator.standbys().every((each) => each.pid !== pid),
    );
    await this.bothStandBy();
    const outage_ms = performance.now() - began_ms;
    this.ledger.kills.push({ victim: 'standby', inside: null, outage_ms });
  }

  bothStandBy(): Promise<void> {
    return eventually('both stand by', () => this.replicator.standbys().length === 2);
  }

  /** A round in an order of the seed's, then the next. */
  private nextVictim(): Victim {
    if (this.left.length === 0) this.left = [...ROUND];
    const [victim = 'worker'] = this.left.splice(this.options.random.below(this.left.length), 1);
    return victim;
  }

  /** The process that has the place; 0: none. */
  private holderOf(victim: Victim): number {
    if (victim === 'worker') return this.arena.u32(this.arena.worker(0, 'pid'));
    if (this.options.layout === 'split') return this.arena.u32(this.arena.receiver(0, 'pid'));
    // inline it has no part in the path, and no word of its own
    const running = replicatorProcesses();
    return running.find(({ command }) => /fantail-rx(?!.* standby$)/.test(command))?.pid ?? 0;
  }

  private journalOf(victim: Victim): number | null {
    if (victim === 'worker') return this.arena.worker(0, 'journal');
    return this.options.layout === 'split' ? this.arena.receiver(0, 'journal') : null;
  }

  /** Where it was when it was killed: where it was to be, or somewhere else (null). */
  private killInside(victim: Victim, pid: number, journal: number): Inside | null {
    const { random, transmit } = this.options;
    if (victim === 'worker' && transmit === 'bulk' && this.aims % COMMIT_EVERY !== 2)
      return wireKill({ pid, 'call-ns': random.below(CALL_NS_MAX) }) ? 'call' : null;
    const image = nativeFile(victim === 'worker' ? 'fantail.node' : 'fantail-rx');
    const [apply, steps] = [addressIn(image, APPLY), random.below(STEPS_MAX)];
    return wireKill({ pid, journal, image, apply, steps }) ? 'commit' : null;
  }

  // ---- What else happens ----

  private async event(): Promise<void> {
    const { random, link } = this.options;
    const events: Record<string, () => Promise<unknown> | unknown> = {
      'filter changed': () => {
        this.marked = !this.marked;
        return this.replicator.change({
          op: 'filter.use',
          name: this.marked ? 'marked' : 'rewrite',
        });
      },
      'subscriber came or went': () => this.comeOrGo(random.below(this.comers.length)),
      'feed came or went': () => this.feedComesOrGoes(),
      'feeds of a subscriber changed': () => this.chooseFeeds(random.below(this.comers.length)),
      'link down and up': async () => {
        link.switchOff();
        await sleep(random.below(PAUSE_MS_MAX));
        link.switchOn();
      },
      // ip fails if one that it has listed is gone when it comes to it
      'neighbours forgotten': () =>
        eventually('neighbours are forgotten', () => {
          try {
            link.ip('replicator', 'neigh', 'flush', 'dev', 'rep0');
            return true;
          } catch {
            return false;
          }
        }),
      'address added and removed': () => {
        for (const how of ['add', 'del'])
          link.ip('replicator', 'addr', how, '10.77.0.3/24', 'dev', 'rep0');
      },
      'MTU changed and back': () => this.setInTurn('mtu', [String(MTU - 100), String(MTU)]),
      'MAC changed and back': () => this.setInTurn('address', [OTHER_MAC, link.replicatorMac]),
      'control flooded': () =>
        Promise.all(Array.from({ length: 100 }, () => this.replicator.list())),
      ...(this.options.transmit === 'bulk' || this.options.transmit === 'pump'
        ? { 'bulk refused by the far end': () => this.refuse() }
        : {}),
    };
    const names = Object.keys(events);
    const name = names[random.below(names.length)] ?? '';
    await events[name]?.();
    this.ledger.did(name);
  }

  /** Of rep0, with a pause after each. */
  private async setInTurn(property: string, values: readonly string[]): Promise<void> {
    for (const value of values) {
      this.options.link.ip('replicator', 'link', 'set', 'rep0', property, value);
      await sleep(this.options.random.below(PAUSE_MS_MAX));
    }
  }

  private async refuse(): Promise<void> {
    for (const word of ['off', 'on'] as const) {
      this.options.link.setGro(word);
      await sleep(this.options.random.below(PAUSE_MS_MAX));
    }
  }

  /** One that nothing is sent to; its index is used again and again. */
  private feedComesOrGoes(): Promise<'ok' | 'BUSY'> {
    const { name } = THIRD;
    this.isThirdThere = !this.isThirdThere;
    return this.replicator.change(
      this.isThirdThere
        ? { op: 'feed.add', name, ip: REPLICATOR_IP, port: THIRD.port }
        : { op: 'feed.remove', name },
    );
  }

  /** Of one that comes and goes. */
  private async chooseFeeds(which: number): Promise<void> {
    const comer = this.comers[which];
    if (comer === undefined || !this.present.has(which)) return;
    const choices = [['main'], [SECOND.name], ['all']];
    const feeds = choices[this.options.random.below(choices.length)] ?? [];
    await this.replicator.change({ op: 'add', ...comer, feeds });
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

/** Of a function, as nm tells it, from where the file is mapped. */
function addressIn(file: string, name: string): number {
  const line = run('nm', ['-C', file])
    .split('\n')
    .find((each) => each.endsWith(` ${name}`));
  if (line === undefined) throw new Error(`${file} has no function ${name}`);
  return Number.parseInt(line, 16);
}

function respawn_ms(): number {
  const began_ms = performance.now();
  spawnSync('/bin/true');
  return performance.now() - began_ms;
}
