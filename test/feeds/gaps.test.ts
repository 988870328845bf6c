/**
 * What two feeds have lost is told on the control channel: MoldUDP64 packets with holes go through
 * a replicator with the dedupe filter, and sessions that watch, and one that does not, listen.
 *
 * needs: a link
 * takes: 30 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { arenasOf } from '../../src/processes/holders.js';
import { type Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, sleep } from '../rig/program.js';
import { Replicator, replicatorProcesses, type UpOptions } from '../rig/replicator.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import { type Destination, LISTEN_PORT } from '../rig/wire.js';

const test = suite('gaps on the path');
const FILTER = 'build/filters/dedupe.wasm';
/** What is promised is a second; a machine that is loud may take longer to run anybody. */
const TOLD_MS_MAX = 10_000;

const B_PORT = 9100;
const BOTH = [LISTEN_PORT, B_PORT];

/**
 * Sends what its input says, a port and sequences a line, as MoldUDP64 packets of one message each.
 */
const SENDER = `
  const socket = require('node:dgram').createSocket('udp4');
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [port, ...words] = line.split(' ');
    for (const word of words) {
      const packet = Buffer.alloc(30);
      packet.write('SESSION001', 'latin1');
      packet.writeBigUInt64BE(BigInt(word), 10);
      packet.writeUInt16BE(1, 18);
      socket.send(packet, Number(port), '${REPLICATOR_IP}');
    }
  });
`;

interface Heard {
  readonly at_ms: number;
  readonly frame: string;
}

/** A session that keeps every frame it gets. */
class Session {
  readonly heard: Heard[] = [];

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => this.heard.push({ at_ms: Date.now(), frame: String(data) }));
  }

  static open(control: string, first: string): Promise<Session> {
    const socket = new WebSocket(`ws://${control}`);
    const session = new Session(socket);
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.once('message', () => resolve(session));
      socket.once('open', () => socket.send(first));
    });
  }

  /** Events of gaps, as objects. */
  gaps(): { from: number; to: number; at_ms: number; feeds: string[]; suppressed?: number }[] {
    return this.heard
      .filter(({ frame }) => frame.startsWith('{'))
      .map(({ frame }) => JSON.parse(frame))
      .filter(({ event }) => event === 'gap');
  }
}

async function useDedupe(replicator: Replicator): Promise<void> {
  await replicator.cli('filter', 'load', 'dedupe', FILTER);
  await replicator.cli('filter', 'use', 'dedupe');
  await replicator.cli('feed', 'add', 'b', `${REPLICATOR_IP}:${B_PORT}`);
  const [{ ip, port }] = subscribersOf(1) as [Destination];
  await replicator.cli('add', ip, String(port), '--feed', 'main,b');
}

/** Sends sequences, to ports; on both lines unless told otherwise. */
type Send = (sequences: readonly number[], ports?: readonly number[]) => void;

/** Whoever fails leaves no sender, which would keep the test from ending. */
async function withSender(link: Link, work: (send: Send) => Promise<void>): Promise<void> {
  const sender = link.start('net', process.execPath, ['-e', SENDER]);
  try {
    await work((sequences, ports = BOTH) => {
      for (const port of ports) sender.write(`${port} ${sequences.join(' ')}`);
    });
  } finally {
    sender.close();
  }
}

/** A replicator and a sender. */
const withBoth = (
  options: UpOptions,
  work: (replicator: Replicator, send: Send) => Promise<void>,
): Promise<void> =>
  withReplicator(options, (replicator) =>
    withSender(options.link, (send) => work(replicator, send)),
  );

/** In numbers to send: from the first to before the last, by steps. */
const range = (from: number, to: number, step = 1) =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

networkTest(
  test,
  'a gap is told once to those that watch and to nobody else; of many at once 100 a second, and the rest counted',
  { queues: 1 },
  async (link) => {
    await withBoth({ link, flags: copyMode('inline') }, async (replicator, send) => {
      await useDedupe(replicator);
      const json = await Session.open(replicator.control, '{"op":"watch","seconds":3600}');
      const typed = await Session.open(replicator.control, 'watch 3600');
      const idle = await Session.open(replicator.control, 'list');
      const began_ms = Date.now();
      send(range(1, 11));
      let next = 14;
      await eventually('the gap is told', () => {
        send([next++]);
        return json.gaps().length > 0;
      });
      const [gap] = json.gaps();
      const told_ms = json.heard.at(-1)?.at_ms ?? 0;
      assert.equal(gap, {
        event: 'gap',
        feeds: ['main', 'b'],
        from: 11,
        to: 13,
        at_ms: gap?.at_ms,
      });
      const at_ms = gap?.at_ms ?? 0;
      assert.ok(at_ms >= began_ms - 1000 && at_ms <= told_ms, `${began_ms} ${at_ms} ${told_ms}`);
      assert.ok(told_ms - at_ms < TOLD_MS_MAX, `told after ${told_ms - at_ms} ms`);
      await eventually('it is told as a line', () => typed.heard.length === 2);
      assert.is(typed.heard[1]?.frame, 'gap main,b 11..13');

      // every other one is lost: 1200 gaps in some seconds
      for (let part = 0; part < 60; part++) {
        send(range(next + 1, next + 41, 2));
        next += 40;
        await sleep(40);
      }
      const total = 1 + 60 * 20;
      const counted = () =>
        json.gaps().reduce((sum, { suppressed = 0 }) => sum + 1 + suppressed, 0);
      // the last ones may be held back until there is one more that may be told
      await eventually('all are told or counted', async () => {
        await sleep(1200);
        send([next]);
        next += 1;
        return (await toldBy(replicator)) >= total;
      });
      await sleep(1200);
      send([next + 1]);
      next += 2;
      await eventually('the last is told', () => {
        send([next++]);
        return counted() === total + 1;
      });
      const events = json.heard.slice(1);
      for (const [index, { at_ms: from }] of events.entries()) {
        // those that arrive late after a pause of this process look closer than they were
        const within = events[index + 200]?.at_ms ?? Infinity;
        assert.ok(within - from > 1000, `201 events from ${from} to ${within}`);
      }
      const frames = () => [json.heard.length, typed.heard.length];
      await eventually('both are told the same', () => new Set(frames()).size === 1);
      assert.is(idle.heard.length, 1, idle.heard.map(({ frame }) => frame).join('\n'));
      await assertStats(replicator, total + 1);
      for (const { socket } of [json, typed, idle]) socket.terminate();
    });
  },
);

networkTest(
  test,
  'wscat sees the gap of two feeds that fall silent behind it, as an object and as a line; one that the other line fills is none',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: copyMode('inline'), inside: true };
    await withBoth(options, async (replicator, send) => {
      await replicator.cli('filter', 'load', 'dedupe', FILTER);
      await replicator.wscat(`feed add b ${REPLICATOR_IP}:${B_PORT}`, /ok feed b added/);
      const [{ ip, port }] = subscribersOf(1) as [Destination];
      await replicator.wscat(`add ${ip} ${port} feed=main,b`, /ok .* added/);
      await replicator.wscat(`filter use dedupe ${ip} ${port} proto=moldudp64`, /ok/);
      const object = replicator.startWscat('{"op":"watch","seconds":3600}');
      const typed = replicator.startWscat('watch 3600');
      await object.line(/"ok":true/);
      await typed.line(/^(< )?ok /);
      send([1, 2, 4, 7], [LISTEN_PORT]);
      send([1, 3, 4, 7], [B_PORT]);
      const { input: gap } = await object.line(/"event":"gap"/);
      assert.match(gap, /\{"event":"gap","feeds":\["main","b"\],"from":5,"to":6,"at_ms":\d+\}/);
      await typed.line(/gap main,b 5\.\.6$/m);
      await sleep(1000);
      for (const told of [object.stdout, typed.stdout])
        assert.is(told.split('gap').length, 2, `told once: ${told}`);
      const text = await replicator.cli('stats');
      assert.match(text, /dedupe +0 +main,b +main +/);
      for (const session of [object, typed]) session.close();
    });
  },
);

networkTest(
  test,
  'a set of feeds that changes begins anew: nothing is withheld for what another feed, or the same set long ago, has sent',
  { queues: 1 },
  async (link) => {
    await withBoth({ link, flags: copyMode('inline') }, async (replicator, send) => {
      await useDedupe(replicator);
      const [{ ip, port }] = subscribersOf(1) as [Destination];
      const json = await Session.open(replicator.control, '{"op":"watch","seconds":3600}');
      const owed = async () => (await replicator.stats()).subscribers[0];
      const sends = async (count: number, why: string) => {
        const before = (await owed())?.sent ?? 0;
        return async () => {
          await eventually(why, async () => ((await owed())?.sent ?? 0) - before === count);
          await sleep(300);
          assert.is(((await owed())?.sent ?? 0) - before, count, why);
        };
      };
      let done = await sends(100, 'both lines, once');
      send(range(1001, 1101));
      await done();
      // another feed, of the index that b had
      await replicator.cli('feed', 'remove', 'b');
      await replicator.cli('feed', 'add', 'c', `${REPLICATOR_IP}:9200`);
      await replicator.cli('add', ip, String(port), '--feed', 'main,c');
      done = await sends(50, 'what is below the numbers of b goes out, once');
      send(range(1, 51), [9200, LISTEN_PORT]);
      await done();
      // nobody has it for a while, in which much is sent
      await replicator.cli('add', ip, String(port), '--feed', 'main');
      done = await sends(10, 'one line');
      send(range(5001, 5011), [LISTEN_PORT]);
      await done();
      await replicator.cli('add', ip, String(port), '--feed', 'main,c');
      done = await sends(10, 'both again');
      send(range(9001, 9011), [LISTEN_PORT, 9200]);
      await done();
      await sleep(1000);
      assert.equal(json.gaps(), [], 'what was sent while it was not looked at is no gap');
      json.socket.terminate();
    });
  },
);

networkTest(
  test,
  'who adopts after kill -9 of all goes on with what was decided: nothing goes out twice, and what is missing is told',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: copyMode('inline') };
    const first = await Replicator.start(options);
    let second: Replicator | null = null;
    try {
      await useDedupe(first);
      await withSender(link, async (send) => {
        const sentBy = async (replicator: Replicator) =>
          (await replicator.stats()).subscribers[0]?.sent ?? 0;
        send([...range(1, 51), ...range(52, 101)], [LISTEN_PORT]);
        await eventually('one line goes out', async () => (await sentBy(first)) === 99);
        const killed = replicatorProcesses().filter(({ pid }) => pid !== first.program.pid);
        for (const { pid } of killed) process.kill(pid, 'SIGKILL');
        // without a fantail-rx that holds all, nothing is left to adopt
        await eventually('fantail-rx is replaced', () => {
          const [holder] = first.processes().filter(({ command }) => /fantail-rx/.test(command));
          const isNew = killed.every(({ pid }) => pid !== holder?.pid);
          return holder !== undefined && isNew && arenasOf(holder.pid).length > 0;
        });
        await eventually('the worker is replaced', async () =>
          (await first.stats()).workers.every(({ restarts }) => restarts > 0),
        );
        process.kill(first.program.pid, 'SIGKILL');
        await first.program.wait();
        second = await Replicator.start(options);
        const next = second;
        const json = await Session.open(next.control, '{"op":"watch","seconds":3600}');
        // fewer than make a new sequence of it, should more than SILENT_NS have passed
        send(range(45, 56), [B_PORT]);
        send([105]);
        await eventually('the gap is told', () => json.gaps().some(({ from }) => from === 101));
        const told = json.gaps().map(({ feeds, from, to }) => `${feeds.join()} ${from}..${to}`);
        // what was open when it began may be told, since it does not know whether it was
        assert.equal(
          told.filter((gap) => gap !== 'main,b 51..51'),
          ['main,b 101..104'],
        );
        await eventually('51 and 105 go out', async () => (await sentBy(next)) >= 99 + 2);
        await next.settled();
        assert.is(await sentBy(next), 99 + 2);
        json.socket.terminate();
      });
    } finally {
      (second as Replicator | null)?.close();
      first.close();
    }
  },
);

async function toldBy(replicator: Replicator): Promise<number> {
  const { filters } = await replicator.stats();
  return filters.loaded.find(({ name }) => name === 'dedupe')?.report?.gaps ?? 0;
}

/** Each packet has won or was late, and who won went out. */
async function assertStats(replicator: Replicator, gaps: number): Promise<void> {
  const { last } = await replicator.settled();
  const [rewrite, dedupe] = last.filters.loaded;
  assert.not.ok('report' in (rewrite ?? {}));
  assert.is(dedupe?.report?.gaps, gaps);
  const [set, ...more] = dedupe?.report?.sets ?? [];
  assert.equal(more, []);
  const { worker, feeds, param, subscribers } = set ?? {};
  assert.equal([worker, feeds, param, subscribers, set?.gaps], [0, ['main', 'b'], '', 1, gaps]);
  const newest = set?.last_gaps.at(-1);
  assert.ok(newest !== undefined && newest.from <= newest.to, JSON.stringify(newest));
  const lines = set?.lines ?? [];
  assert.equal(lines.map(({ feed, ip, port }) => [feed, ip, port]).sort(), [
    ['b', REPLICATOR_IP, B_PORT],
    ['main', REPLICATOR_IP, LISTEN_PORT],
  ]);
  for (const { feed, won, late } of lines)
    assert.is(won + late, last.feeds.find(({ name }) => name === feed)?.received, `of ${feed}`);
  const won = lines.reduce((sum, line) => sum + line.won, 0);
  assert.is(last.subscribers[0]?.sent, won);
}

test.run();
