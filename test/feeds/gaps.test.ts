/**
 * What a feed has lost is told on the control channel: MoldUDP64 packets with holes go through a
 * replicator with the dedupe filter, and sessions that watch, and one that does not, listen.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually, sleep } from '../rig/program.js';
import type { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import { LISTEN_PORT } from '../rig/wire.js';

const test = suite('gaps on the path');
const FILTER = 'build/filters/dedupe.wasm';
/** What is promised is a second; a machine that is loud may take longer to run anybody. */
const TOLD_MS_MAX = 10_000;

/** Sends the sequences on its input, one a line, as MoldUDP64 packets of one message each. */
const SENDER = `
  const socket = require('node:dgram').createSocket('udp4');
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    for (const word of line.split(' ')) {
      const packet = Buffer.alloc(30);
      packet.write('SESSION001', 'latin1');
      packet.writeBigUInt64BE(BigInt(word), 10);
      packet.writeUInt16BE(1, 18);
      socket.send(packet, ${LISTEN_PORT}, '${REPLICATOR_IP}');
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
  await replicator.subscribe(subscribersOf(1));
}

/** In numbers to send: from the first to before the last, by steps. */
const range = (from: number, to: number, step = 1) =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

networkTest(
  test,
  'a gap is told once to those that watch and to nobody else; of many at once 100 a second, and the rest counted',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      await useDedupe(replicator);
      const json = await Session.open(replicator.control, '{"op":"watch","seconds":3600}');
      const typed = await Session.open(replicator.control, 'watch 3600');
      const idle = await Session.open(replicator.control, 'list');
      const sender = link.start('net', process.execPath, ['-e', SENDER]);
      const send = (sequences: readonly number[]) => sender.write(sequences.join(' '));
      const began_ms = Date.now();
      send(range(1, 11));
      let next = 14;
      await eventually('the gap is told', () => {
        send([next++]);
        return json.gaps().length > 0;
      });
      const [gap] = json.gaps();
      const told_ms = json.heard.at(-1)?.at_ms ?? 0;
      assert.equal(gap, { event: 'gap', feeds: ['main'], from: 11, to: 13, at_ms: gap?.at_ms });
      const at_ms = gap?.at_ms ?? 0;
      assert.ok(at_ms >= began_ms - 1000 && at_ms <= told_ms, `${began_ms} ${at_ms} ${told_ms}`);
      assert.ok(told_ms - at_ms < TOLD_MS_MAX, `told after ${told_ms - at_ms} ms`);
      await eventually('it is told as a line', () => typed.heard.length === 2);
      assert.is(typed.heard[1]?.frame, 'gap main 11..13');

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
      sender.close();
    });
  },
);

async function toldBy(replicator: Replicator): Promise<number> {
  const { filters } = await replicator.stats();
  return filters.loaded.find(({ name }) => name === 'dedupe')?.gaps?.[0]?.told ?? 0;
}

/** One line, since all comes to one address: it has won all that came. */
async function assertStats(replicator: Replicator, gaps: number): Promise<void> {
  const { last } = await replicator.settled();
  const [rewrite, dedupe] = last.filters.loaded;
  assert.not.ok('lines' in (rewrite ?? {}));
  assert.is(dedupe?.gaps?.[0]?.told, gaps);
  const [line, ...more] = dedupe?.lines ?? [];
  assert.equal(more, []);
  assert.equal(
    { feeds: line?.feeds, ip: line?.ip, port: line?.port, late: line?.late },
    { feeds: ['main'], ip: REPLICATOR_IP, port: LISTEN_PORT, late: 0 },
  );
  assert.is(line?.won, last.feed.received);
  assert.is(last.subscribers[0]?.sent, last.feed.received);
}

test.run();
