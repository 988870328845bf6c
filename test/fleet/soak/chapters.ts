/**
 * What is done to a group in a soak, a chapter each: one thing happens while the feed runs, and
 * what arrived says what became of everybody. Each leaves the group as it found it: all members
 * serve.
 */

import {
  changeOf,
  doubledOf,
  type Group,
  LEASE_S,
  lostBy,
  overlapsOf,
  servedBy,
  takenOverAfter,
} from '../../rig/fleet/group.js';
import type { Member } from '../../rig/fleet/member.js';
import type { Phase } from '../../rig/fleet/oracle.js';
import { eventually, sleep } from '../../rig/program.js';
import type { Random } from '../../rig/random.js';
import type { Findings } from './findings.js';

const BASELINE_MS = 5000;
/** Longer than a lease, and what the others need to take over. */
const ISOLATED_MS = (LEASE_S + 5) * 1000;

export interface Soaking {
  readonly group: Group;
  readonly findings: Findings;
  readonly random: Random;
  /** Seconds for which all of etcd is away. */
  readonly awaySeconds: number;
}

export type Chapter = (soaking: Soaking) => Promise<void>;

/** Any of those that serve. */
function someMember({ group, random }: Soaking): Member {
  const { alive } = group;
  const member = alive[random.below(alive.length)];
  if (member === undefined) throw new Error('no member is alive');
  return member;
}

const others = (phase: Phase, those: readonly number[]) => {
  const left = new Set(those);
  return [...phase.before.keys()].filter((index) => !left.has(index));
};

/** The sink itself saw all, and nothing that was not sent. */
function checkSink({ findings }: Soaking, chapter: string, { look }: Phase): void {
  const { ring_drops, unexpected, corrupt, forgotten } = look;
  if (ring_drops + unexpected + corrupt + forgotten > 0)
    findings.none(
      `${chapter}: frames that the sink lost, that were nobody's or broken`,
      ring_drops + unexpected + corrupt + forgotten,
    );
}

/** Packets that some lost, wanted: 0. Where some did, who lost what, or nobody could find why. */
function lost(
  { findings }: Soaking,
  what: string,
  { phase, those }: { readonly phase: Phase; readonly those?: readonly number[] },
): void {
  const accounts = (those ?? [...phase.before.keys()]).flatMap(
    (index) => phase.accounts[index] ?? [],
  );
  const losers = accounts.filter(({ missing }) => missing.length > 0);
  findings.none(what, lostBy(phase, those));
  if (losers.length === 0) return;
  const some = losers.slice(0, 3).map(({ subscriber, missing, senders }) => {
    const ranges = missing.slice(0, 3).map(({ first, last }) => `${first} to ${last}`);
    return `${subscriber} (${senders.join(', ')}): ${ranges.join(', ')}`;
  });
  const { first, last } = phase.owed;
  const owed = `of ${first} to ${last}`;
  findings.tell(`${losers.length} lost some, ${owed}, such as`, some.join('; '));
}

/** Nobody serves any more what that address has served. */
async function leftTo(group: Group, ip: string): Promise<void> {
  await eventually(
    `others serve what ${ip} had`,
    async () => {
      const { runs } = await group.fleet.served.look();
      const last_ns = Math.max(
        ...runs.filter(({ sender }) => sender === ip).map((run) => run.last_ns),
        0,
      );
      const owners = new Set<number>();
      for (const run of runs)
        if (run.sender !== ip && run.last_ns > last_ns) owners.add(run.subscriber);
      return owners.size === group.fleet.subscribers.length;
    },
    120_000,
  );
}

interface ComeBackOptions {
  readonly isTwiceAllowed?: boolean;
  readonly handovers?: Awaited<ReturnType<Group['handovers']>>;
}

/**
 * The dead, the drained and the healed are back, without a loss. `handovers`: those counted before,
 * where one that counts on could not be asked in between.
 */
async function comeBack(
  soaking: Soaking,
  chapter: string,
  { isTwiceAllowed = false, handovers }: ComeBackOptions,
  work: () => Promise<unknown>,
): Promise<void> {
  const { group, findings } = soaking;
  const before = handovers ?? (await group.handovers());
  const phase = await group.fleet.phase(async () => {
    await work();
    await group.settled();
  });
  checkSink(soaking, chapter, phase);
  lost(soaking, `${chapter}, and is back: packets lost`, { phase });
  if (isTwiceAllowed) return;
  const twice = doubledOf(phase).length;
  const counted = await group.handoversSince(before);
  findings.atMost(`${chapter}, and is back: copies that came twice`, twice, {
    ...{ max: counted, unit: 'counted as handover' },
  });
}

/**
 * Nothing happens: what is lost now is lost for want of a core, and no member's fault. On such a
 * machine no other figure of lost packets says anything.
 */
export const baseline: Chapter = async (soaking) => {
  const { group, findings } = soaking;
  const phase = await group.fleet.phase(() => sleep(BASELINE_MS));
  checkSink(soaking, 'baseline', phase);
  lost(soaking, 'baseline, nothing happens: packets lost', { phase });
  findings.none('baseline, nothing happens: copies twice', doubledOf(phase).length);
};

export const kill: Chapter = async (soaking) => {
  const { group, findings } = soaking;
  const dead = someMember(soaking);
  let killed_ns = 0;
  const phase = await group.fleet.phase(async () => {
    killed_ns = Number(process.hrtime.bigint());
    await dead.kill();
    await leftTo(group, dead.ip);
  });
  checkSink(soaking, 'kill', phase);
  const orphans = servedBy(phase.before, dead);
  const after_s = takenOverAfter(phase, orphans, killed_ns);
  const name = `kill -9 of a member with ${orphans.length} subscribers`;
  const longest_s = after_s.includes(-1) ? -1 : Math.max(...after_s);
  findings.atMost(`${name}: served again`, longest_s, { max: LEASE_S + 1, unit: 's' });
  findings.none(`${name}: served by two`, overlapsOf(phase).length + doubledOf(phase).length);
  lost(soaking, `${name}: packets lost by others`, { phase, those: others(phase, orphans) });
  await comeBack(soaking, 'a member that was killed', {}, () => dead.start());
};

export const drain: Chapter = async (soaking) => {
  const { group, findings } = soaking;
  const drained = someMember(soaking);
  const handovers = await group.handovers();
  let seconds = 0;
  const phase = await group.fleet.phase(async () => {
    const began_ms = performance.now();
    await drained.channel.ask({ op: 'fleet.drain', member: drained.host.name });
    const end = await drained.ended();
    seconds = (performance.now() - began_ms) / 1000;
    if (end.status !== 0) throw new Error(drained.told());
    await group.settled();
  });
  checkSink(soaking, 'drain', phase);
  lost(soaking, 'drain: packets lost', { phase });
  findings.none('drain: subscribers that it still serves', servedBy(phase.after, drained).length);
  findings.tell('drain: until it has ended', `${seconds.toFixed(2)} s`);
  const counted = await group.handoversSince(handovers);
  findings.atMost('drain: copies that came twice', doubledOf(phase).length, {
    ...{ max: counted, unit: 'counted as handover' },
  });
  await comeBack(soaking, 'a member that was drained', {}, () => drained.start());
};

/** As a service manager ends it. */
export const stop: Chapter = async (soaking) => {
  const { group } = soaking;
  const stopped = someMember(soaking);
  const phase = await group.fleet.phase(async () => {
    await stopped.stop();
    await group.settled();
  });
  lost(soaking, 'SIGTERM to a member: packets lost', { phase });
  await comeBack(soaking, 'a member that was stopped', {}, () => stopped.start());
};

export const leader: Chapter = async (soaking) => {
  const { group, findings } = soaking;
  const { etcd } = group.fleet;
  const phase = await group.fleet.phase(async () => {
    const first = await etcd.leader();
    await first.end('SIGKILL');
    await etcd.leader();
    await sleep(LEASE_S * 1000);
    await etcd.start();
  });
  checkSink(soaking, 'leader', phase);
  lost(soaking, "etcd's leader killed: packets lost", { phase });
  findings.none("etcd's leader killed: served by two", overlapsOf(phase).length);
  await group.settled();
};

export const away: Chapter = async (soaking) => {
  const { group, findings, awaySeconds } = soaking;
  const { etcd } = group.fleet;
  const phase = await group.fleet.phase(async () => {
    await etcd.end('SIGKILL');
    await sleep(awaySeconds * 1000);
    await etcd.start();
    await group.settled();
  });
  checkSink(soaking, 'away', phase);
  const name = `all of etcd stopped for ${awaySeconds} s`;
  lost(soaking, `${name}: packets lost`, { phase });
  findings.none(`${name}: served by two`, overlapsOf(phase).length);
  findings.none(`${name}: subscribers that changed their member`, changed(phase));
};

const changed = ({ before, after }: Phase) =>
  before.filter((owner, index) => owner !== after[index]).length;

/** Within the lease the next one adopts what runs. */
export const supervisor: Chapter = async (soaking) => {
  const { group, findings } = soaking;
  const orphan = someMember(soaking);
  const phase = await group.fleet.phase(async () => {
    await orphan.killSupervisor();
    await orphan.start();
    await group.settled();
  });
  lost(soaking, 'supervisor killed and started: packets lost', { phase });
  findings.none('supervisor killed and started: copies twice', doubledOf(phase).length);
};

/** It is never started again: its workers end by the fence, in shared memory. */
export const orphaned: Chapter = async (soaking) => {
  const { group } = soaking;
  const orphan = someMember(soaking);
  await isolated(soaking, 'supervisor killed for good', orphan, async () => {
    await orphan.killSupervisor();
  });
  await comeBack(soaking, 'a supervisor that was killed for good', {}, async () => {
    await orphan.start();
    await group.settled();
  });
};

/** It hangs for longer than its lease, and goes on as if nothing had been. */
export const hung: Chapter = async (soaking) => {
  const hanging = someMember(soaking);
  const handovers = await soaking.group.handovers();
  await isolated(soaking, 'supervisor that hangs', hanging, async () => hanging.hangSupervisor());
  await comeBack(soaking, 'a supervisor that hung', { handovers }, async () =>
    hanging.goOnSupervisor(),
  );
};

/** A member that is lost to etcd, and not to its peers. True: it stopped before another began. */
async function isolated(
  { group, findings }: Soaking,
  name: string,
  lost: Member,
  work: () => Promise<void>,
): Promise<boolean> {
  const phase = await group.fleet.phase(async () => {
    await work();
    await leftTo(group, lost.ip);
  });
  const own = servedBy(phase.before, lost);
  const gaps_s = own.map((index) => {
    const { last_ns, first_ns } = changeOf(phase, index);
    return (first_ns - last_ns) / 1e9;
  });
  const isOnce = overlapsOf(phase).length + doubledOf(phase).length === 0;
  const lost_others = lostBy(phase, others(phase, own));
  const isBefore = own.length > 0 && gaps_s.every((gap) => gap > 0);
  if (lost_others > 0) findings.none(`${name}: packets lost by others`, lost_others);
  const range = `${Math.min(...gaps_s).toFixed(2)} to ${Math.max(...gaps_s).toFixed(2)} s`;
  findings.tell(`${name}, ${own.length} subscribers: from its last copy to another's first`, range);
  if (!isBefore || !isOnce) findings.none(`${name}: served by two`, own.length);
  return isBefore && isOnce;
}

export const partitions =
  (count: number): Chapter =>
  async (soaking) => {
    const { group, findings } = soaking;
    const { bridge, etcdHosts } = group.fleet;
    let good = 0;
    for (let turn = 1; turn <= count; turn++) {
      const cut = someMember(soaking);
      const name = `partition ${turn} from etcd alone`;
      const isGood = await isolated(soaking, name, cut, async () => {
        bridge.cut(cut.host, etcdHosts);
      });
      good += isGood ? 1 : 0;
      await comeBack(soaking, name, {}, async () => bridge.heal());
    }
    findings.always('partition from etcd alone: it had stopped before another began', good, count);
  };

/** Cut off from etcd and its peers: it serves on, and so do they, unless it is told to stop. */
export const isolation =
  (how: 'serve' | 'stop'): Chapter =>
  async (soaking) => {
    const { group, findings } = soaking;
    const { bridge, etcdHosts, members } = group.fleet;
    // the group's first member is the one that is told to stop
    const cut = how === 'stop' ? members[0] : members.at(-1);
    if (cut === undefined) throw new Error('there are no members');
    const hosts = [...etcdHosts, ...members.map(({ host }) => host)];
    const phase = await group.fleet.phase(async () => {
      bridge.cut(cut.host, hosts);
      await sleep(ISOLATED_MS);
    });
    const own = servedBy(phase.before, cut);
    const goesOn = own.filter((index) =>
      phase.look.runs.some(
        (run) =>
          run.subscriber === index &&
          run.sender === cut.ip &&
          run.last_ns > phase.look.now_ns - 1e9,
      ),
    );
    const name = `cut off from both, --fleet-isolated ${how}`;
    if (how === 'serve') {
      findings.always(`${name}: subscribers that it serves on`, goesOn.length, own.length);
      const twice = overlapsOf(phase, own).length;
      findings.tell(`${name}: subscribers that two serve, which the flag allows`, String(twice));
    } else {
      findings.none(`${name}: subscribers that it serves on`, goesOn.length);
      findings.none(`${name}: served by two`, overlapsOf(phase).length);
    }
    lost(soaking, `${name}: packets lost by others`, { phase, those: others(phase, own) });
    await comeBack(soaking, name, { isTwiceAllowed: how === 'serve' }, async () => bridge.heal());
  };
