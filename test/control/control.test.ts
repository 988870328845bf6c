/**
 * Goal: the control port keeps its promises to every client, and holds against a bad one.
 * Method: a real server over a table in memory (the server is under test, not the replicator), real
 * WebSocket clients, and the real wscat; wrong input first where a rule refuses, then the same
 * thing allowed.
 *
 * needs: a core
 * takes: 50 s
 */
import { execFile } from 'node:child_process';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pack, unpack } from 'msgpackr/pack';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import {
  BYTES_PER_SECOND_MAX,
  CHANGES_MAX,
  REFUSALS_MAX,
  REQUESTS_PER_SECOND_MAX,
  SESSIONS_MAX,
  UNAUTHORIZED_SESSIONS_MAX,
} from '../../src/control/constants.js';
import { Access, WAITING_MAX } from '../../src/control/gate/access.js';
import { isLoopback } from '../../src/control/gate/gate.js';
import { type Control, type ControlOptions, startControl } from '../../src/control/server.js';
import type { Change, ToldChange } from '../../src/domain/change.js';
import { Failure } from '../../src/domain/errors.js';
import type { GapEvent } from '../../src/domain/replicator.js';
import { busyStats, MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually, ROOT } from '../rig/program.js';
import { random } from '../rig/random.js';

const test = suite('control');
const TOKEN = 'a-token-of-32-characters-for-test';
const TOKENS = { all: TOKEN, read: null };

const opened: Control[] = [];
test.after(async () => {
  for (const control of opened) await control.close();
});

async function start(
  options: Partial<ControlOptions> = {},
): Promise<{ control: Control; table: MemoryReplicator }> {
  const table = new MemoryReplicator(options.tokens === undefined ? 4096 : 4);
  const defaults = { address: '127.0.0.1', port: 0, tokens: null, replicator: table };
  const control = await startControl({ ...defaults, ...options });
  opened.push(control);
  return { control, table };
}

/** Longer than a loud machine takes for anything that does happen. */
const WAIT_MS = 60_000;

/** A client that keeps every frame it gets. */
class Peer {
  readonly frames: (string | Buffer)[] = [];
  closed: { code: number; reason: string } | null = null;
  private readonly waiters: (() => void)[] = [];

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data, isBinary) => {
      // one Buffer a message is what ws gives
      this.frames.push(isBinary ? (data as Buffer) : String(data));
      for (const wake of this.waiters.splice(0)) wake();
    });
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) };
      for (const wake of this.waiters.splice(0)) wake();
    });
    socket.on('error', () => {});
  }

  /** Connects, or rejects with `status sentence`. */
  static open(
    port: number,
    headers: Record<string, string> = {},
    host = '127.0.0.1',
    protocols: string[] = [],
  ): Promise<Peer> {
    const socket = new WebSocket(`ws://${host}:${port}`, protocols, { headers });
    const peer = new Peer(socket);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(peer));
      socket.once('error', reject);
      socket.once('unexpected-response', (_: ClientRequest, response: IncomingMessage) => {
        let body = '';
        response.on('data', (chunk) => {
          body += String(chunk);
        });
        response.on('end', () => {
          socket.terminate();
          reject(new Error(`${response.statusCode} ${body}`));
        });
      });
    });
  }

  send(...frames: (string | object)[]): void {
    for (const frame of frames)
      this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Waits until `count` frames are here. */
  async frame(count: number): Promise<string | Buffer> {
    const ends = Date.now() + WAIT_MS;
    while (this.frames.length < count) {
      if (this.closed !== null)
        throw new Error(`closed: ${this.closed.code} ${this.closed.reason}`);
      if (Date.now() > ends) throw new Error(`${this.frames.length} frames, not ${count}`);
      await Promise.race([new Promise<void>((wake) => this.waiters.push(wake)), sleep(100)]);
    }
    return this.frames[count - 1] ?? '';
  }

  /** Sends one frame, gives the next one that comes. */
  ask(frame: string | object): Promise<string | Buffer> {
    const count = this.frames.length + 1;
    this.send(frame);
    return this.frame(count);
  }

  async askJson(request: object): Promise<Record<string, unknown>> {
    return JSON.parse(String(await this.ask(request))) as Record<string, unknown>;
  }

  async codeOf(request: object): Promise<unknown> {
    return ((await this.askJson(request)).error as { code?: string } | undefined)?.code;
  }

  async end(): Promise<{ code: number; reason: string }> {
    const ends = Date.now() + WAIT_MS;
    while (this.closed === null && Date.now() < ends) await sleep(20);
    return this.closed ?? { code: 0, reason: 'not closed' };
  }
}

/** Of this host, on no loopback interface. */
function ownAddress(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((rows) => rows ?? []);
  return addresses.find((row) => row.family === 'IPv4' && !row.internal)?.address;
}

async function refusedWith(opening: Promise<Peer>): Promise<string> {
  try {
    (await opening).socket.terminate();
    return 'served';
  } catch (error) {
    return (error as Error).message;
  }
}

function wscat(port: number, ...args: string[]): Promise<string> {
  const program = join(ROOT, 'node_modules', '.bin', 'wscat');
  return new Promise((resolve, reject) => {
    const all = ['-c', `ws://127.0.0.1:${port}`, '-w', '0.5', ...args];
    const child = execFile(program, all, { timeout: 10_000 }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(error);
    });
    child.stdin?.on('error', () => {});
  });
}

interface Answer {
  status: number;
  body: string;
  server: string;
}

function http(
  port: number,
  headers: Record<string, string> = {},
  path = '/',
  method = 'GET',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ host: '127.0.0.1', port, path, method, headers }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += String(chunk);
      });
      const server = String(response.headers.server);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, server }));
    });
    asked.once('error', reject);
    asked.end();
  });
}

// ---- encodings and order ------------------------------------------------------------------------

test('the real wscat adds a subscriber by a typed line and by JSON', async () => {
  const { control, table } = await start();
  assert.is(await wscat(control.port, '-x', 'add 10.0.0.34 9001'), 'ok 10.0.0.34 9001 added\n');
  const line = '{"id":1,"op":"add","ip":"10.0.0.34","port":9002}';
  assert.is(await wscat(control.port, '-x', line), '{"id":1,"ok":true,"existing":false}\n');
  assert.equal(
    table.rows.map((row) => row.port),
    [9001, 9002],
  );
  const both = await wscat(control.port, '-x', 'remove 10.0.0.34 9001', '-x', 'list');
  assert.is(
    both,
    'ok 10.0.0.34 9001 removed\n10.0.0.34 9002 live 02:00:00:00:00:02 worker 0 filter default feeds main\nok 1 subscriber\n',
  );
  assert.match(
    await wscat(control.port, '-x', 'add 10.0.0 1'),
    /^error BAD_ADDRESS "10\.0\.0" is not /,
  );
});

test('each frame is answered in its own encoding, with its id', async () => {
  const { control } = await start();
  const peer = await Peer.open(control.port);
  assert.is(await peer.ask('add 10.0.0.34 9001'), 'ok 10.0.0.34 9001 added');
  const json = await peer.askJson({ id: 'a', op: 'add', ip: '10.0.0.34', port: 9001 });
  assert.equal(json, { id: 'a', ok: true, existing: true });
  peer.socket.send(pack({ id: 5, op: 'list' }));
  const answer = unpack((await peer.frame(3)) as Buffer);
  const row = {
    ip: '10.0.0.34',
    port: 9001,
    state: 'live',
    mac: '02:00:00:00:00:02',
    worker: 0,
    filter: 'default',
    feeds: ['main'],
    expires_s: null,
  };
  assert.equal(answer, { id: 5, ok: true, subscribers: [row] });
  assert.equal(await peer.askJson({ op: 'remove', ip: '10.0.0.34', port: 9001 }), {
    ok: true,
    removed: true,
  });
  assert.equal(await peer.askJson({ op: 'remove', ip: '10.0.0.34', port: 9001 }), {
    ok: true,
    removed: false,
  });
  assert.is((await peer.askJson({ op: 'stats' })).interface, 'eth9');
  assert.match(String(await peer.ask('help')), /^add <ip> <port>[\s\S]*\nok$/);
  peer.socket.terminate();
});

test('pipelined requests of all encodings are answered in order', async () => {
  const { control, table } = await start();
  table.delayMs = 1;
  const peer = await Peer.open(control.port);
  for (let id = 0; id < 600; id++) {
    if (id % 3 === 0) peer.send(`add 10.0.${id >> 8}.${id & 255} 9001`);
    else if (id % 3 === 1) peer.send({ id, op: 'list' });
    else peer.socket.send(pack({ id, op: 'nothing' }));
  }
  await peer.frame(600);
  peer.frames.forEach((frame, id) => {
    if (id % 3 === 0) assert.is(frame, `ok 10.0.${id >> 8}.${id & 255} 9001 added`);
    else if (id % 3 === 1) {
      const body = JSON.parse(String(frame));
      assert.equal([body.id, body.subscribers.length], [id, (id + 2) / 3]);
    } else
      assert.equal(
        [unpack(frame as Buffer).id, unpack(frame as Buffer).error.code],
        [id, 'UNKNOWN_OP'],
      );
  });
  peer.socket.terminate();
});

test('each code of this step is reached', async () => {
  const faults: unknown[] = [];
  const { control, table } = await start({
    tokens: TOKENS,
    onError: (error) => faults.push(error),
  });
  const peer = await Peer.open(control.port, { Authorization: `Bearer ${TOKEN}` });
  const add = (ip: string, port: number) => peer.codeOf({ op: 'add', ip, port });
  assert.is(await peer.codeOf({ op: 'list', x: 1 }), 'BAD_REQUEST');
  assert.is(await peer.codeOf({ op: 'lst' }), 'UNKNOWN_OP');
  assert.is(await add('10.0.0.1', 0), 'BAD_ADDRESS');
  assert.is(await add('192.168.0.1', 9001), 'NOT_ALLOWED');
  assert.is(await peer.codeOf({ op: 'list', pad: 'x'.repeat(70_000) }), 'TOO_LARGE');
  for (let port = 1; port <= 4; port++) assert.is(await add('10.0.0.1', port), undefined);
  assert.is(await add('10.0.0.1', 5), 'TABLE_FULL');
  table.failure = new Error('boom');
  assert.is(await add('10.0.0.1', 6), 'INTERNAL');
  assert.is((faults[0] as Error).message, 'boom');
  assert.is(await peer.codeOf({ op: 'auth', token: 'wrong' }), 'UNAUTHORIZED');
  assert.is(await peer.codeOf({ op: 'list' }), undefined, 'a session that was let in stays in');
  peer.socket.terminate();
});

// ---- limits -------------------------------------------------------------------------------------

test('a message above 64 KiB is TOO_LARGE, and the session goes on; far above it is cut off', async () => {
  const { control } = await start();
  const peer = await Peer.open(control.port);
  assert.match(String(await peer.ask('x'.repeat(65_537))), /^error TOO_LARGE /);
  assert.is(await peer.codeOf({ id: 1, op: 'auth', token: 'x'.repeat(1_400_000) }), 'TOO_LARGE');
  assert.is(await peer.ask('list'), 'ok 0 subscribers');
  peer.send('x'.repeat(2_000_000));
  assert.is((await peer.end()).code, 1009);
});

test('2000 requests a second are served, the rest are RATE_LIMITED, in order and with their ids', async () => {
  const { control } = await start();
  const peer = await Peer.open(control.port);
  const count = REQUESTS_PER_SECOND_MAX + 500;
  const started = performance.now();
  for (let id = 0; id < count; id++) peer.send({ id, op: 'unwatch' });
  await peer.frame(count);
  const isWithinSecond = performance.now() - started < 1000; // else it may be no flood
  const replies = peer.frames.map((frame) => JSON.parse(String(frame)));
  assert.equal(
    replies.map((reply) => reply.id),
    Array.from({ length: count }, (_, id) => id),
  );
  const refused = replies.filter((reply) => reply.error?.code === 'RATE_LIMITED').length;
  assert.ok(refused > 0 || !isWithinSecond);
  assert.ok(refused <= 500, `${refused} refused`);
  await sleep(1000);
  assert.equal(await peer.askJson({ op: 'unwatch' }), { ok: true });
  peer.socket.terminate();
});

test('a flood of one session is not read faster than its limit, and others are served meanwhile', async () => {
  const { control } = await start();
  const flood = await Peer.open(control.port);
  const other = await Peer.open(control.port);
  const sent = 60_000;
  const started = performance.now();
  for (let id = 0; id < sent; id++) flood.send('list');
  await other.ask('list');
  // the flood takes seconds at its limit; one that waited for it would be answered after it
  assert.ok(flood.frames.length < sent / 2, `${flood.frames.length} of the flood came first`);
  await sleep(500);
  // the first and the last are part seconds
  const seconds = Math.ceil((performance.now() - started) / 1000) + 1;
  // frames of 10 bytes in what a socket had read before it was paused
  const readAhead = 64 * 1024 * 0.2;
  const most = seconds * 2 * REQUESTS_PER_SECOND_MAX + readAhead;
  // `most` may be all of it, on a machine that is that slow
  assert.ok(flood.frames.length < most, `${flood.frames.length} answers in ${seconds} s`);
  flood.socket.terminate();
  other.socket.terminate();
});

test('a session that sends more bytes a second than it may is read more slowly, and only that one', async () => {
  const { control } = await start();
  const [greedy, other] = [await Peer.open(control.port), await Peer.open(control.port)];
  const message = JSON.stringify({ op: 'help', id: 'x'.repeat(60_000) });
  const count = Math.ceil((2.5 * BYTES_PER_SECOND_MAX) / message.length);
  const began_ms = performance.now();
  for (let sent = 0; sent < count; sent++) greedy.send(message);
  assert.is(await other.ask('list'), 'ok 0 subscribers');
  assert.ok(greedy.frames.length < count);
  await greedy.frame(count);
  const took_ms = performance.now() - began_ms;
  assert.ok(took_ms > 1900, `2.5 seconds' worth was read in ${took_ms} ms`);
  for (const peer of [greedy, other]) peer.socket.terminate();
});

test('sessions have a cap, and closing one makes room', async () => {
  const { control } = await start();
  const peers = await Promise.all(
    Array.from({ length: SESSIONS_MAX }, () => Peer.open(control.port)),
  );
  assert.match(await refusedWith(Peer.open(control.port)), /^503 fantail: 256 sessions are served/);
  peers[0]?.socket.close();
  await peers[0]?.end();
  const last = await Peer.open(control.port);
  assert.is(await last.ask('list'), 'ok 0 subscribers');
  for (const peer of [...peers, last]) peer.socket.terminate();
});

test('of a thousand who come at once as many are served as there is room for, and the rest are told', async () => {
  const { control } = await start();
  const others = 1000 - SESSIONS_MAX;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1000 }, () => Peer.open(control.port)),
  );
  const peers = outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const refused = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
  assert.equal([peers.length, refused.length], [SESSIONS_MAX, others]);
  // or dropped, beyond the connections that are kept at all
  for (const error of refused)
    assert.match(String(error), /503 fantail: 256 sessions are served|socket hang up|ECONNRESET/);
  for (const peer of peers) assert.is(await peer.ask('list'), 'ok 0 subscribers');
  for (const peer of peers) peer.socket.close();
  for (const peer of peers) assert.is((await peer.end()).code, 1005);
  const last = await Peer.open(control.port);
  assert.is(await last.ask('list'), 'ok 0 subscribers');
  last.socket.terminate();
});

test('connections that say nothing, or half of something, are ended and keep nobody out for long', async () => {
  const { control } = await start();
  const halves = ['', 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n'];
  const sockets = Array.from({ length: 2 * SESSIONS_MAX }, (_, index) =>
    connectTcp(control.port, '127.0.0.1', function (this: Socket) {
      this.write(halves[index % 2] ?? '');
    }),
  );
  const ended = sockets.map(
    (socket) =>
      new Promise<void>((resolve) => {
        socket.on('error', () => {}).once('close', () => resolve());
        socket.resume();
      }),
  );
  const late = setTimeout(() => {
    for (const socket of sockets) socket.destroy(new Error('still open'));
  }, WAIT_MS);
  await Promise.all(ended);
  clearTimeout(late);
  assert.equal(
    sockets.filter(({ errored }) => errored?.message === 'still open'),
    [],
  );
  const peer = await Peer.open(control.port);
  assert.is(await peer.ask('list'), 'ok 0 subscribers');
  peer.socket.terminate();
});

test('sessions without the token have a smaller cap, so that they keep nobody out', async () => {
  const { control } = await start({ tokens: TOKENS });
  const strangers = await Promise.all(
    Array.from({ length: UNAUTHORIZED_SESSIONS_MAX }, () => Peer.open(control.port)),
  );
  assert.match(
    await refusedWith(Peer.open(control.port)),
    /^503 fantail: too many sessions without a token/,
  );
  const known = await Peer.open(control.port, { Authorization: `Bearer ${TOKEN}` });
  assert.is(await known.ask('list'), 'ok 0 subscribers');
  for (const peer of [...strangers, known]) peer.socket.terminate();
});

// ---- watch --------------------------------------------------------------------------------------

test('watch answers once, then tells the counters until unwatch', async () => {
  const { control, table } = await start();
  table.current = busyStats(5);
  const peer = await Peer.open(control.port);
  assert.equal(await peer.askJson({ id: 1, op: 'watch', seconds: 0.1 }), {
    id: 1,
    ok: true,
    seconds: 0.1,
  });
  assert.equal(JSON.parse(String(await peer.frame(3))), { event: 'stats', ...busyStats(5) });
  await peer.ask({ op: 'unwatch' });
  const count = peer.frames.length;
  await sleep(300);
  // one may have been on its way
  assert.ok(peer.frames.length <= count + 1, 'events after unwatch');
  const typed = await Peer.open(control.port);
  assert.is(await typed.ask('watch 0.1'), 'ok every 0.1 s');
  assert.match(
    String(await typed.frame(2)),
    /^stats uptime_ms 1000 received 5 subscribers 1 sent 5 /,
  );
  const binary = await Peer.open(control.port);
  binary.socket.send(pack({ op: 'watch', seconds: 0.1 }));
  assert.equal(unpack((await binary.frame(2)) as Buffer), { event: 'stats', ...busyStats(5) });
  for (const each of [peer, typed, binary]) each.socket.terminate();
});

test('those who watch are told of gaps, each in its encoding, and nobody else is', async () => {
  const { control, table } = await start();
  const tell = (gap: GapEvent) => {
    for (const listener of table.gapListeners) listener(gap);
  };
  const [json, typed, binary, idle] = await Promise.all(
    Array.from({ length: 4 }, () => Peer.open(control.port)),
  );
  await idle?.ask('list');
  await json?.ask({ op: 'watch', seconds: 3600 });
  await typed?.ask('watch 3600');
  binary?.socket.send(pack({ op: 'watch', seconds: 3600 }));
  await binary?.frame(1);
  const gap = { feeds: ['main', 'b'], from: 17, to: 19, at_ms: 1_700_000_000_000 };
  tell(gap);
  tell({ ...gap, feeds: [], suppressed: 12 });
  assert.equal(JSON.parse(String(await json?.frame(2))), { event: 'gap', ...gap });
  assert.is(JSON.parse(String(await json?.frame(3))).suppressed, 12);
  assert.is(await typed?.frame(2), 'gap main,b 17..19');
  assert.is(await typed?.frame(3), 'gap - 17..19 suppressed 12');
  assert.equal(unpack((await binary?.frame(2)) as Buffer), { event: 'gap', ...gap });
  await json?.ask('unwatch');
  typed?.socket.terminate();
  await eventually('whoever left is not told', () => table.gapListeners.size === 1);
  tell(gap);
  assert.is(await idle?.ask('unwatch'), 'ok no more events');
  assert.is(idle?.frames.length, 2);
  assert.is(json?.frames.length, 4);
  for (const peer of [json, binary, idle]) peer?.socket.terminate();
});

test('a second watch replaces the first', async () => {
  const { control } = await start();
  const peer = await Peer.open(control.port);
  for (let turn = 0; turn < 50; turn++) await peer.ask('watch 0.1');
  await peer.ask('watch 3600');
  const count = peer.frames.length;
  await sleep(300);
  assert.is(peer.frames.length, count);
  peer.socket.terminate();
});

test('those who watch at the same pace are told at the same moments', async () => {
  const { control, table } = await start();
  const told: number[] = [];
  let turn = 0;
  table.stats = async () => {
    if (told.at(-1) !== turn) setImmediate(() => turn++);
    told.push(turn);
    return busyStats(5);
  };
  const peers = [];
  for (let count = 0; count < 20; count++) {
    const peer = await Peer.open(control.port);
    await peer.ask('watch 0.1');
    peers.push(peer);
    await sleep(7); // each begins at another moment
  }
  told.length = 0;
  await peers[0]?.frame(12);
  for (const peer of peers) peer.socket.terminate();
  const turns = new Set(told).size;
  assert.ok(told.length > 5 * turns, `${told.length} events at ${turns} moments`);
});

test('a watcher that does not read is skipped, then closed; memory stays bounded and others are told', async () => {
  const { control, table } = await start();
  const row = busyStats(1).subscribers[0];
  assert.ok(row);
  table.current.subscribers = Array.from({ length: 4096 }, (_, index) => ({
    ...row,
    port: index + 1,
  })); // 0.5 MB
  const slow = await Peer.open(control.port);
  const quick = await Peer.open(control.port);
  await slow.ask({ op: 'watch', seconds: 0.1 });
  slow.socket.pause();
  await quick.ask('watch 0.1');
  const before = process.memoryUsage().rss;
  // as many ticks as close a session that reads none: ten in a row, and five seconds of them
  await quick.frame(80);
  assert.ok(process.memoryUsage().rss - before < 100e6, 'memory grew');
  slow.socket.resume();
  const { code } = await slow.end();
  assert.ok(code === 1008 || code === 1006, `closed with ${code}`);
  quick.socket.terminate();
});

test('a peer that asks much and reads nothing holds one answer, and keeps nobody waiting', async () => {
  const { control, table } = await start();
  const { rows } = table;
  for (let port = 1; port <= 4096; port++) {
    rows.push({
      ip: '10.0.0.1',
      port,
      state: 'live',
      mac: '02:00:00:00:00:02',
      worker: 0,
      filter: 'default',
      feeds: ['main'],
      expires_s: null,
    });
  }
  const greedy = await Peer.open(control.port);
  const other = await Peer.open(control.port);
  greedy.socket.pause();
  const before = process.memoryUsage().rss;
  for (let turn = 0; turn < 1000; turn++) greedy.send({ op: 'list' }); // 400 MB of answers
  await sleep(1000);
  assert.equal(await other.askJson({ op: 'unwatch' }), { ok: true });
  assert.ok(process.memoryUsage().rss - before < 150e6, 'memory grew');
  greedy.socket.terminate();
  other.socket.terminate();
});

// ---- who may speak ------------------------------------------------------------------------------

test('a token is needed: by header, or by auth as the first thing', async () => {
  const { control } = await start({ tokens: TOKENS });
  const peer = await Peer.open(control.port);
  for (const line of ['list', 'help', 'add 10.0.0.1 9001', 'watch 1', 'nothing', '']) {
    assert.match(String(await peer.ask(line)), /^error UNAUTHORIZED /, line);
  }
  assert.is(await peer.codeOf({ id: 1, op: 'auth' }), 'BAD_REQUEST');
  assert.is(await peer.codeOf({ id: 1, op: 'auth', token: `${TOKEN}x` }), 'UNAUTHORIZED');
  assert.is(await peer.ask(`auth ${TOKEN}`), 'ok');
  assert.is(await peer.ask('list'), 'ok 0 subscribers');
  assert.is(
    await wscat(control.port, '-H', `Authorization: Bearer ${TOKEN}`, '-x', 'list'),
    'ok 0 subscribers\n',
  );
  for (const wrong of ['Bearer', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, TOKEN]) {
    const refused = await refusedWith(Peer.open(control.port, { Authorization: wrong }));
    assert.is(refused, '401 fantail: wrong token\n', wrong);
  }
  peer.socket.terminate();
});

test('before the token nothing longer than an auth is taken, after it all is', async () => {
  const { control } = await start({ tokens: TOKENS });
  const stranger = await Peer.open(control.port);
  stranger.send('x'.repeat(2049));
  assert.equal(await stranger.end(), { code: 1009, reason: 'a token is wanted first' });
  const peer = await Peer.open(control.port);
  peer.send({ op: 'auth', token: TOKEN });
  peer.send('x'.repeat(60_000)); // pipelined behind it
  await peer.frame(2);
  assert.match(String(peer.frames[1]), /^error UNKNOWN_OP /);
  peer.socket.terminate();
});

test('adds and removes that wait are under way together, and answered in order', async () => {
  const { control, table } = await start();
  const peer = await Peer.open(control.port);
  table.delayMs = 200; // of each change: one after the other they would take 20 s
  const started = performance.now();
  for (let id = 0; id < 100; id++)
    peer.send({ id, op: id % 10 === 9 ? 'remove' : 'add', ip: '10.0.0.1', port: 9000 + (id % 10) });
  peer.send({ id: 100, op: 'list' });
  await peer.frame(101);
  assert.ok(performance.now() - started < 100 * table.delayMs, 'they waited for one another');
  const replies = peer.frames.map((frame) => JSON.parse(String(frame)));
  assert.equal(
    replies.map(({ id, ok }) => [id, ok]),
    Array.from({ length: 101 }, (_, id) => [id, true]),
  );
  assert.is(replies[100].subscribers.length, 9, 'what comes after them sees all of them');
  peer.socket.terminate();
});

test('a second token may read, and change nothing', async () => {
  const { control, table } = await start({ tokens: { all: TOKEN, read: 'to-read' } });
  const reader = await Peer.open(control.port, { Authorization: 'Bearer to-read' });
  for (const line of ['list', 'stats', 'help', 'watch 1', 'unwatch', 'filter list'])
    assert.not.match(String(await reader.ask(line)), /^error/, line);
  for (const line of [
    'add 10.0.0.1 9001',
    'remove 10.0.0.1 9001',
    'filter use rewrite',
    'filter unload rewrite',
    'filter load mine base64:AGFzbQEAAAA=',
  ])
    assert.match(String(await reader.ask(line)), /^error UNAUTHORIZED this token may only read/);
  assert.is(table.list().length, 0);
  assert.is(await reader.ask(`auth ${TOKEN}`), 'ok', 'it may show the other one');
  assert.match(String(await reader.ask('add 10.0.0.1 9001')), /^ok/);
  reader.socket.terminate();
});

test('a wrong token is answered later each time; a right one from there does not wait', async () => {
  const { control } = await start({ tokens: TOKENS });
  const guess = () => refusedWith(Peer.open(control.port, { Authorization: 'Bearer guess' }));
  const waits: number[] = [];
  for (let turn = 0; turn < 3; turn++) {
    const started = performance.now();
    assert.match(await guess(), /^401/);
    waits.push(performance.now() - started);
  }
  // a timer may fire a millisecond early by this clock
  assert.ok((waits[2] ?? 0) >= 399, waits.join());
  let isAnswered = false;
  const guesses = Promise.all([guess(), guess()]).then(() => {
    isAnswered = true;
  });
  const right = await Peer.open(control.port, { Authorization: `Bearer ${TOKEN}` });
  assert.is(await right.ask('list'), 'ok 0 subscribers');
  assert.not.ok(isAnswered, 'the guesses before it still wait');
  await guesses;
  right.socket.terminate();
});

test('of wrong tokens beyond those that may wait none is answered, and a right one still is', async () => {
  const { control } = await start({ tokens: TOKENS });
  const guess = () =>
    refusedWith(Peer.open(control.port, { Authorization: 'Bearer guess' })).then((why) =>
      why.startsWith('401'),
    );
  const guesses = Array.from({ length: 2 * WAITING_MAX }, guess);
  const right = await Peer.open(control.port, { Authorization: `Bearer ${TOKEN}` });
  assert.is(await right.ask('list'), 'ok 0 subscribers');
  const answered = (await Promise.all(guesses)).filter(Boolean).length;
  // a place is free again once one was answered, so how many are depends on when they came
  assert.ok(answered >= 1 && answered < guesses.length, `${answered} are answered`);
  right.socket.terminate();
});

test('of wrong tokens that come at once as many wait as may, and the others are told to go', async () => {
  const access = new Access(TOKENS);
  let refused = 0;
  for (let count = 0; count < WAITING_MAX + 20; count++)
    access.afterWrong('10.0.0.1').then((isAnswered) => {
      if (!isAnswered) refused++;
    });
  await Promise.resolve(); // no timer has run
  assert.is(refused, 20);
  assert.is(access.rightsOf(TOKEN), 'all');
});

test('each change is told: who asked, what, and how it was answered; what reads is not', async () => {
  const told: Change[] = [];
  const { control } = await start({ onChange: (change) => told.push(change) });
  const peer = await Peer.open(control.port);
  await peer.ask('add 10.0.0.1 9001');
  await peer.ask('list');
  await peer.ask('help');
  await peer.ask({ op: 'remove', ip: '10.0.0.1', port: 9001 });
  await peer.ask('add 10.0.0.1 0');
  await peer.ask('filter load mine base64:AGFzbQEAAAA=');
  const { localPort } = (peer.socket as unknown as { _socket: { localPort: number } })._socket;
  assert.equal(
    told.map(({ what }) => what),
    [
      'add 10.0.0.1 9001',
      'remove 10.0.0.1 9001',
      'add <ip> <port> [feed=<name>,<name>|all] [lease=<seconds>|session]',
      'filter.load mine (8 bytes)',
    ],
  );
  assert.equal(
    told.slice(0, 3).map(({ answer }) => answer),
    ['ok', 'ok', 'BAD_ADDRESS'],
  );
  assert.ok(
    told.every(({ who }) => who === `127.0.0.1:${localPort}`),
    JSON.stringify(told),
  );
  peer.socket.terminate();
});

test('changes tells the last 256 that were asked for, whoever asked, to who may only read too', async () => {
  const { control } = await start({ tokens: { all: TOKEN, read: 'a-read-token' } });
  const [one, two] = [await Peer.open(control.port), await Peer.open(control.port)];
  assert.equal((await one.askJson({ op: 'auth', token: TOKEN })).rights, 'all');
  assert.equal((await two.askJson({ op: 'auth', token: 'a-read-token' })).rights, 'read');
  const before_ms = Date.now();
  await one.ask('add 10.0.0.1 9001 feed=main lease=30');
  await one.ask({ op: 'remove', ip: '10.0.0.1', port: 9001 });
  await two.ask('remove 10.0.0.1 9001');
  await one.ask('list');
  const { changes } = await two.askJson({ op: 'changes' });
  const told = changes as ToldChange[]; // as the operation types it
  assert.equal(
    told.map(({ op, what, answer, about }) => [op, what, answer, about]),
    [
      ['add', 'add 10.0.0.1 9001 main 30', 'ok', { subscriber: '10.0.0.1:9001' }],
      ['remove', 'remove 10.0.0.1 9001', 'ok', { subscriber: '10.0.0.1:9001' }],
      ['remove', 'remove 10.0.0.1 9001', 'UNAUTHORIZED', { subscriber: '10.0.0.1:9001' }],
    ],
  );
  assert.ok(told.every(({ at_ms }) => at_ms >= before_ms && at_ms <= Date.now()));
  assert.match(
    String(await two.ask('changes 1')),
    /^\d{4}-\d\d-\d\dT\S+Z 127\.0\.0\.1:\d+ UNAUTHORIZED remove 10\.0\.0\.1 9001\nok 1 change$/,
  );
  for (let port = 1; port <= CHANGES_MAX + 3; port++) await one.ask(`remove 10.0.0.2 ${port}`);
  const whatOf = async (request: object) =>
    ((await two.askJson(request)).changes as ToldChange[]).map(({ what }) => what);
  const all = Array.from({ length: CHANGES_MAX }, (_, index) => `remove 10.0.0.2 ${index + 4}`);
  assert.equal(await whatOf({ op: 'changes' }), all);
  assert.equal(await whatOf({ op: 'changes', count: 2 }), all.slice(-2));
  for (const peer of [one, two]) peer.socket.terminate();
});

test('of changes neither renewed leases nor refusals push out what was done', async () => {
  const { control } = await start({ tokens: { all: TOKEN, read: 'a-read-token' } });
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
  const [one, two] = [
    await Peer.open(control.port, bearer(TOKEN)),
    await Peer.open(control.port, bearer('a-read-token')),
  ];
  const told = async () => (await two.askJson({ op: 'changes' })).changes as ToldChange[];
  const [add, removed] = ['add 10.0.0.1 9001 lease=30', 'remove 10.0.0.9 9'];
  await one.ask(removed);
  for (let turn = 0; turn < CHANGES_MAX; turn++) await one.ask(add);
  const again = await Peer.open(control.port, bearer(TOKEN)); // another port of the same host
  await again.ask(add);
  for (let turn = 0; turn <= CHANGES_MAX; turn++) await two.ask(`pause 10.0.0.1 ${turn + 1}`);
  const changes = await told();
  assert.is(changes.length, CHANGES_MAX);
  assert.is(changes[0]?.what, removed);
  assert.equal([changes[1]?.what, changes[1]?.times], ['add 10.0.0.1 9001 30', CHANGES_MAX + 1]);
  const { at_ms = 0, last_ms = 0 } = changes[1] ?? {};
  assert.ok(last_ms >= at_ms);
  assert.match(
    String(await two.ask('changes')),
    /ok add 10\.0\.0\.1 9001 30 \(257 times, last \S+Z\)\n/,
  );
  for (let port = 1; port <= CHANGES_MAX - REFUSALS_MAX - 2; port++)
    await one.ask(`remove 10.0.0.2 ${port}`);
  const kept = await told();
  assert.is(kept[0]?.what, removed, 'refusals go first');
  assert.is(kept.filter(({ answer }) => answer !== 'ok').length, REFUSALS_MAX);
  // what may have changed it in between makes the same words another change
  await one.ask('pause 10.0.0.1 9001');
  await one.ask(add);
  await one.ask('feed add b 10.0.0.5:9002');
  await one.ask(add);
  await one.ask('add 10.0.0.1 9001 lease=60');
  await one.ask(add);
  const adds = (await told()).filter(({ what }) => what === 'add 10.0.0.1 9001 30');
  assert.equal(adds.map(({ times = 1 }) => times).slice(-3), [1, 1, 1]);
  for (const peer of [one, two, again]) peer.socket.terminate();
});

test('what a stranger asks is no line of the log, and what a peer writes is a part of one', async () => {
  const told: Change[] = [];
  const { control } = await start({ tokens: TOKENS, onChange: (change) => told.push(change) });
  const stranger = await Peer.open(control.port);
  assert.match(String(await stranger.ask('add 10.0.0.1 9001')), /UNAUTHORIZED/);
  assert.equal(told, []);
  await stranger.ask(`auth ${TOKEN}`);
  await stranger.ask({ op: 'filter.unload', name: 'x\n[00:00] INFO: ok' });
  assert.equal(
    told.map(({ what }) => what),
    ['filter.unload x?[00:00] INFO: ok'],
  );
  stranger.socket.terminate();
});

test('a session is closed after five wrong tokens', async () => {
  const { control } = await start({ tokens: TOKENS });
  const peer = await Peer.open(control.port);
  for (let turn = 1; turn <= 5; turn++)
    assert.match(String(await peer.ask(`auth wrong${turn}`)), /^error UNAUTHORIZED/);
  assert.equal(await peer.end(), { code: 1008, reason: 'too many wrong tokens' });
});

test('Origin must be the Host that was asked for', async () => {
  const { control } = await start();
  const own = `127.0.0.1:${control.port}`;
  for (const Origin of [
    'http://evil.example',
    'null',
    `http://127.0.0.1`,
    `ftp://${own}`,
    `http://${own}/x`,
    'x',
  ]) {
    assert.match(
      await refusedWith(Peer.open(control.port, { Origin })),
      /^403 fantail: Origin must be/,
      Origin,
    );
    assert.is((await http(control.port, { Origin })).status, 403, Origin);
  }
  assert.is(await refusedWith(Peer.open(control.port, { Origin: `http://${own}` })), 'served');
  const local = { Host: `localhost:${control.port}`, Origin: `http://localhost:${control.port}` };
  assert.is(await refusedWith(Peer.open(control.port, local)), 'served');
  assert.match(await refusedWith(Peer.open(control.port, { Origin: local.Origin })), /^403/);
});

test('Host must be an IP address or localhost', async () => {
  const { control } = await start();
  const { port } = control;
  const bad = [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    '127.1',
    'localhost.evil.example',
  ];
  for (const Host of [...bad, '[::1', 'user@127.0.0.1', '127.0.0.1:x']) {
    const refused = await refusedWith(Peer.open(port, { Host }));
    assert.match(refused, /^40[03]/, `${Host}: ${refused}`);
    assert.ok([400, 403].includes((await http(port, { Host })).status), Host);
  }
  for (const Host of [
    '127.0.0.1',
    `127.0.0.1:${port}`,
    'localhost',
    `LOCALHOST:${port}`,
    '[::1]',
    '10.1.2.3',
  ]) {
    assert.is(await refusedWith(Peer.open(port, { Host })), 'served', Host);
    assert.is((await http(port, { Host })).status, 200, Host);
  }
});

test('without a token only loopback is served; with it others are', async () => {
  assert.ok(
    isLoopback('127.0.0.1') &&
      isLoopback('127.9.9.9') &&
      isLoopback('::1') &&
      isLoopback('::ffff:127.0.0.1'),
  );
  assert.not.ok(
    isLoopback('10.0.0.1') ||
      isLoopback('::ffff:10.0.0.1') ||
      isLoopback('') ||
      isLoopback('fe80::1'),
  );
  const own = ownAddress();
  if (own === undefined) return console.log('skip: this host has no address but loopback');
  const closed = await start({ address: '0.0.0.0' });
  const status = (port: number, headers: Record<string, string>) => {
    return new Promise<number | undefined>((resolve, reject) => {
      const asked = httpRequest({ host: own, port, headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asked.once('error', reject);
      asked.end();
    });
  };
  assert.is(await status(closed.control.port, {}), 403);
  const opened = await start({ address: '0.0.0.0', tokens: TOKENS });
  assert.is(await status(opened.control.port, {}), 401);
  assert.is(await status(opened.control.port, { Authorization: `Bearer ${TOKEN}` }), 200);
});

test('where the token is wanted no more, loopback alone stays, with all rights', async () => {
  const own = ownAddress();
  if (own === undefined) return console.log('skip: this host has no address but loopback');
  const tokens = { all: TOKEN, read: `${TOKEN}-read` };
  const { control } = await start({ address: '0.0.0.0', tokens });
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
  const far = [
    await Peer.open(control.port, bearer(tokens.read), own),
    await Peer.open(control.port, bearer(tokens.all), own),
    await Peer.open(control.port, {}, own),
  ];
  const near = [await Peer.open(control.port, bearer(tokens.read)), await Peer.open(control.port)];
  control.renewTokens(null);
  const add = { op: 'add', ip: '10.0.0.1', port: 1 };
  for (const peer of far) {
    assert.is(await peer.codeOf(add), 'UNAUTHORIZED');
    assert.is(await peer.codeOf({ op: 'auth', token: tokens.all }), 'UNAUTHORIZED');
  }
  for (const peer of far) assert.is((await peer.end()).code, 1008);
  for (const peer of near) {
    assert.is(await peer.codeOf(add), undefined);
    peer.socket.terminate();
  }
});

test('who shows the new token before its last word is over stays', async () => {
  const { control } = await start({ tokens: TOKENS });
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const [kept, gone] = [
    await Peer.open(control.port, headers),
    await Peer.open(control.port, headers),
  ];
  control.renewTokens({ all: `${TOKEN}-new`, read: null });
  assert.is(await kept.codeOf({ op: 'auth', token: `${TOKEN}-new` }), undefined);
  assert.is((await gone.end()).code, 1008);
  await sleep(200);
  assert.is(await kept.codeOf({ op: 'list' }), undefined);
  kept.socket.terminate();
});

test('a browser shows the token in a subprotocol, judged as the header and never told back', async () => {
  const { control } = await start({ tokens: { all: TOKEN, read: `${TOKEN}-read` } });
  const silent: Peer[] = [];
  for (let count = 0; count < UNAUTHORIZED_SESSIONS_MAX; count++)
    silent.push(await Peer.open(control.port));
  const shown = (token: string) => [
    `bearer.${Buffer.from(token).toString('base64url')}`,
    'fantail',
  ];
  const open = (protocols: string[]) => Peer.open(control.port, {}, '127.0.0.1', protocols);
  assert.match(await refusedWith(open(['fantail'])), /^503 /);
  assert.match(await refusedWith(open(shown('wrong'))), /^401 /);
  assert.match(await refusedWith(open(['fantail', 'bearer.*'])), /^401 /);
  const one = await open(shown(TOKEN));
  assert.is(one.socket.protocol, 'fantail');
  assert.is(await one.codeOf({ op: 'add', ip: '10.0.0.1', port: 1 }), undefined);
  const reader = await open(shown(`${TOKEN}-read`));
  assert.is(await reader.codeOf({ op: 'add', ip: '10.0.0.1', port: 1 }), 'UNAUTHORIZED');
  for (const peer of [...silent, one, reader]) peer.socket.terminate();
});

// ---- HTTP, bad bytes, and the end ---------------------------------------------------------------

test('plain HTTP on the same port says what this is, and passes what it may to onHttp', async () => {
  const { control } = await start({
    onHttp: (request, response) => {
      if (request.url === '/fault') throw new Error('boom');
      if (request.url !== '/metrics') return false;
      response.end('metrics');
      return true;
    },
  });
  const { port } = control;
  const root = await http(port);
  assert.equal([root.status, root.server], [200, 'fantail']);
  assert.match(
    root.body,
    /^fantail: the control port; try: wscat -c ws:\/\/127\.0\.0\.1:\d+ -x help\n$/,
  );
  assert.is((await http(port, {}, '/metrics')).body, 'metrics');
  assert.is((await http(port, {}, '/fault')).status, 500);
  assert.is((await http(port, {}, '/x')).status, 404);
  assert.is((await http(port, {}, '/', 'POST')).status, 405);
  let called = false;
  const onHttp = () => {
    called = true;
    return false;
  };
  const guarded = await start({ tokens: TOKENS, onHttp });
  assert.is((await http(guarded.control.port)).status, 401);
  assert.is((await http(guarded.control.port, { Authorization: 'Bearer x' })).status, 401);
  assert.not.ok(called, 'onHttp was called without a token');
});

test('each probe tells by its status what it is for, without a token, and only reads', async () => {
  const health = { isHealthy: true, isReady: false };
  const { control } = await start({ tokens: TOKENS, health: () => health });
  const told = async () => {
    const probes = ['/healthz', '/readyz'].map((path) => http(control.port, {}, path));
    return (await Promise.all(probes)).map(({ status, body }) => `${status}${body}`);
  };
  assert.equal(await told(), ['200', '503'], 'before ready');
  health.isReady = true;
  assert.equal(await told(), ['200', '200'], 'while it runs');
  health.isHealthy = false;
  assert.equal(await told(), ['503', '200'], 'a process is missing');
  health.isReady = false;
  assert.equal(await told(), ['503', '503'], 'it stops');
  for (const path of ['/healthz', '/readyz']) {
    assert.is((await http(control.port, {}, path, 'POST')).status, 405);
    assert.is((await http(control.port, { Host: 'rebound.example' }, path)).status, 403);
    assert.is((await http(control.port, { Authorization: 'Bearer x' }, path)).status, 401);
  }
});

/** Writes raw bytes, and resolves when the server closes or after 200 ms. */
function poke(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, '127.0.0.1', () => socket.write(bytes));
    const done = () => {
      socket.destroy();
      resolve();
    };
    socket.on('error', done);
    socket.on('close', done);
    socket.resume();
    setTimeout(done, 200);
  });
}

test('random bytes, before and after the upgrade, stop neither the server nor other sessions', async () => {
  const { below } = random('control');
  const { control } = await start();
  const peer = await Peer.open(control.port);
  const upgrade = [
    'GET / HTTP/1.1',
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    '\r\n',
  ].join('\r\n');
  for (let turn = 0; turn < 30; turn++) {
    const pokes = Array.from({ length: 10 }, () => {
      const noise = Buffer.from(Array.from({ length: 1 + below(400) }, () => below(256)));
      const cut = upgrade.slice(0, below(upgrade.length));
      const heads = [Buffer.alloc(0), Buffer.from(upgrade), Buffer.from(cut)];
      return poke(control.port, Buffer.concat([heads[below(3)] ?? noise, noise]));
    });
    await Promise.all(pokes);
    assert.is(await peer.ask('list'), 'ok 0 subscribers');
  }
  peer.socket.terminate();
});

test('a port that is taken, or an address that is not ours, is a Failure with the errno', async () => {
  const { control } = await start();
  const failure = async (options: Partial<ControlOptions>) => {
    try {
      await start(options);
    } catch (error) {
      assert.instance(error, Failure);
      return error as Failure;
    }
    return assert.unreachable('it started');
  };
  const taken = await failure({ port: control.port });
  assert.is(taken?.systemCode, 'EADDRINUSE');
  assert.match(taken?.message ?? '', /is taken; give another one with --control IP:PORT$/);
  assert.is((await failure({ address: '192.0.2.1' }))?.systemCode, 'EADDRNOTAVAIL');
});

test('close ends every session with 1001, frees the port, and may be called twice', async () => {
  const { control, table } = await start();
  const peer = await Peer.open(control.port);
  const deaf = await Peer.open(control.port);
  deaf.socket.pause();
  await peer.ask('watch 0.1');
  table.delayMs = 10_000; // a request that is not answered in time does not hold it up
  peer.send('add 10.0.0.1 9001');
  await sleep(50);
  const started = performance.now();
  await Promise.all([control.close(), control.close()]);
  await control.close();
  const took_ms = performance.now() - started;
  assert.ok(took_ms < table.delayMs, `close waited ${took_ms} ms, for the request`);
  assert.equal(await peer.end(), { code: 1001, reason: 'fantail stops' });
  const again = await start({ port: control.port });
  assert.is(again.control.port, control.port);
  deaf.socket.terminate();
});

test.run();
