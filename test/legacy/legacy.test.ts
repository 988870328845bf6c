/**
 * Goal: existing control clients drive fantail unchanged, and nobody can do more with legacy
 * control than its wire format says. Method: bytes out of a table, sent from a plain socket; no
 * client of ours has a part in it. First against the server over a table in memory, then against
 * `fantail up` on a link.
 *
 * needs: a link
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../src/domain/errors.js';
import {
  type Legacy,
  type LegacyAbout,
  LISTS_PER_SECOND_MAX,
  SOURCE_REQUESTS_PER_SECOND_MAX,
  startLegacy,
} from '../../src/legacy/server.js';
import { addon } from '../../src/memory/addon.js';
import { HOSTS, type Link, NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually } from '../rig/program.js';
import { fantail, startUp } from '../rig/replicator.js';
import { networkTest, withReplicator } from '../rig/scenario.js';

const test = suite('legacy control');
/** For hangs only. */
const REPLY_MS = 60_000;
const SILENCE_MS = 100;

/** A client as anybody would write it: a socket, bytes out, bytes back. */
class Wire {
  readonly replies: string[] = [];
  readonly errors: (string | undefined)[] = [];

  private constructor(private readonly socket: Socket) {
    socket.on('message', (bytes) => this.replies.push(bytes.toString('hex')));
    socket.on('error', (error: NodeJS.ErrnoException) => this.errors.push(error.code));
  }

  /** `fd`: a bound socket of another namespace. */
  static async open(ip: string, port: number, fd?: number): Promise<Wire> {
    const socket = createSocket('udp4');
    if (fd !== undefined) socket.bind({ fd }); // at once, unlike a bind by address
    socket.connect(port, ip);
    await once(socket, 'connect');
    return new Wire(socket);
  }

  send(hex: string): void {
    this.socket.send(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  }

  /** The reply to one request, as hexadecimal. */
  async ask(hex: string): Promise<string> {
    const before = this.replies.length;
    this.send(hex);
    const late = AbortSignal.timeout(REPLY_MS);
    while (this.replies.length === before) await once(this.socket, 'message', { signal: late });
    assert.is(this.replies.length, before + 1, 'one reply');
    return this.replies[before] ?? '';
  }

  close(): void {
    this.socket.close();
  }
}

let table: MemoryReplicator;
let server: Legacy;
let wire: Wire;
let port: number;
let lines: string[];
/** What each of them is about. */
let told: LegacyAbout[];

/** A free UDP port of the loopback, and the bound socket. */
async function bound(): Promise<{ fd: number; port: number }> {
  const probe = createSocket('udp4').bind(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port: free } = probe.address();
  probe.close();
  await once(probe, 'close');
  const fd = addon.openUdp(null, { ip: '127.0.0.1', port: free });
  return { fd, port: free };
}

test.before.each(async () => {
  table = new MemoryReplicator();
  lines = [];
  told = [];
  const at = await bound();
  port = at.port;
  const log = {
    info: (about: LegacyAbout, line: string) => {
      told.push(about);
      lines.push(`info ${line}`);
    },
    warn: (about: LegacyAbout, line: string) => {
      told.push(about);
      lines.push(line);
    },
  };
  server = await startLegacy({ ...at, replicator: table, log });
  wire = await Wire.open('127.0.0.1', port);
});
test.after.each(async () => {
  wire.close();
  await server.close();
});

// 10.0.0.34:9001, and 10.255.0.1:65535
const ONE = '0a 00 00 22 23 29';
const OTHER = '0a ff 00 01 ff ff';
const FORBIDDEN = 'c0 a8 00 01 23 29';

test('each request is answered byte for byte', async () => {
  const dialogue: [string, string][] = [
    ['03', '00'],
    [`01 ${ONE}`, '01'],
    [`01 ${ONE}`, '01'], // it is there already
    ['03', `01 ${ONE}`],
    [`01 ${OTHER}`, '01'],
    ['03', `02 ${ONE} ${OTHER}`],
    [`01 ${FORBIDDEN}`, '00'],
    ['01 0a 00 00 22 00 00', '00'], // port 0
    [`02 ${FORBIDDEN}`, '01'], // removing is always well
    ['02 0a 00 00 22 23 2a', '01'], // another port of the same host: not that one
    ['03', `02 ${ONE} ${OTHER}`],
    [`02 ${ONE}`, '01'],
    [`02 ${ONE}`, '01'],
    ['03', `01 ${OTHER}`],
    [`01 ${ONE} ff ff`, '01'], // what follows a whole request is ignored
    ['03 00 00', `02 ${OTHER} ${ONE}`],
  ];
  for (const [request, reply] of dialogue)
    assert.is(await wire.ask(request), reply.replaceAll(' ', ''), request);
});

test('short and unknown requests draw no reply and change nothing', async () => {
  await wire.ask(`01 ${ONE}`);
  const whole = Buffer.from(`01${ONE.replaceAll(' ', '')}`, 'hex');
  const silent = ['', '00', '04 e0 00 00 01', '05 e0 00 00 01', `ff ${ONE}`, '7b 22'];
  for (let length = 1; length < whole.length; length++) {
    silent.push(whole.toString('hex', 0, length), `02${whole.toString('hex', 1, length)}`);
  }
  const before = wire.replies.length;
  for (const request of silent) wire.send(request);
  await sleep(SILENCE_MS);
  assert.is(wire.replies.length, before);
  assert.is(await wire.ask('03'), `01${ONE.replaceAll(' ', '')}`);
});

test('a list tells the first 255 and the log says that there are more', async () => {
  for (let each = 0; each < 300; each++)
    await table.add(`10.1.${each >> 8}.${each & 255}`, 9001, null);
  const reply = Buffer.from(await wire.ask('03'), 'hex');
  assert.is(reply.length, 1 + 255 * 6);
  assert.is(reply[0], 255);
  assert.is(reply.toString('hex', 1, 7), '0a0100002329');
  assert.is(reply.toString('hex', 1 + 254 * 6), '0a0100fe2329');
  assert.ok(lines.some((line) => /255 of 300 subscribers; see all with: fantail list/.test(line)));
});

test('a change that takes longer is done; a fault is refused; both are answered', async () => {
  const slow = new FantailError('BUSY', 'a worker is slow to follow');
  table.failure = slow;
  assert.is(await wire.ask(`01 ${ONE}`), '01');
  table.remove = () => Promise.reject(slow);
  assert.is(await wire.ask(`02 ${ONE}`), '01');
  assert.equal(
    told.map(({ op, code }) => [op, code]),
    [
      ['add', 'BUSY'],
      ['remove', 'BUSY'],
    ],
  );
  table.failure = new FantailError('TABLE_FULL', 'no more');
  assert.is(await wire.ask(`01 ${ONE}`), '00');
  table.failure = new Error('a fault');
  assert.is(await wire.ask(`01 ${ONE}`), '00');
  assert.match(lines.at(-1) ?? '', 'a fault of its own');
});

test('who does what is logged, a flood in one line', async () => {
  await wire.ask(`01 ${ONE}`);
  await wire.ask(`01 ${FORBIDDEN}`);
  await wire.ask(`02 ${ONE}`);
  assert.match(lines[0] ?? '', /^info legacy control: 127\.0\.0\.1 added 10\.0\.0\.34:9001$/);
  assert.match(lines[1] ?? '', /refused to 127\.0\.0\.1: .*10\.0\.0\.0\/8.*\(NOT_ALLOWED\)$/);
  assert.match(lines[2] ?? '', /^info legacy control: 127\.0\.0\.1 removed/);
  const who = '127.0.0.1';
  assert.equal(told.slice(0, 3), [
    { op: 'add', who, subscriber: '10.0.0.34:9001', code: 'ok' },
    { op: 'add', who, subscriber: '192.168.0.1:9001', code: 'NOT_ALLOWED' },
    { op: 'remove', who, subscriber: '10.0.0.34:9001', code: 'ok' },
  ]);
  for (let each = 0; each < 100; each++) assert.is(await wire.ask(`01 ${FORBIDDEN}`), '00');
  assert.ok(lines.length < 12, `${lines.length} lines`);
  await eventually('the rest is counted', () => / more in that second$/.test(lines.at(-1) ?? ''));
});

test('requests, and lists among them, are answered up to a rate, and again a second later', async () => {
  for (let each = 0; each < LISTS_PER_SECOND_MAX; each++) await wire.ask('03');
  wire.send('03');
  await sleep(SILENCE_MS);
  assert.is(wire.replies.length, LISTS_PER_SECOND_MAX);
  assert.is(await wire.ask(`01 ${ONE}`), '01', 'a list too many keeps nobody from adding');
  assert.match(lines[0] ?? '', /too many requests, from 127\.0\.0\.1/);
  await sleep(1000);
  const started = performance.now(); // of a second that this request begins
  assert.is(await wire.ask('03'), `01${ONE.replaceAll(' ', '')}`);
  const before = wire.replies.length;
  for (let each = 0; each < SOURCE_REQUESTS_PER_SECOND_MAX + 200; each++) {
    wire.send(`02 ${ONE}`);
    if (each % 50 === 0) await sleep(5); // no more than a socket takes
  }
  await sleep(SILENCE_MS);
  const seconds = Math.ceil((performance.now() - started) / 1000);
  const answered = wire.replies.length - before;
  const most = seconds * SOURCE_REQUESTS_PER_SECOND_MAX; // the first second has had one before
  assert.ok(answered < most, `${answered} of one source were answered in ${seconds} s`);
});

test('a request from the port that replicators answer on gets no reply: two would talk to each other', async () => {
  const other = createSocket({ type: 'udp4', reuseAddr: true }).bind(port, '127.0.0.2');
  await once(other, 'listening');
  let heard = 0;
  other.on('message', () => {
    heard += 1;
  });
  other.send(Buffer.from('03', 'hex'), port, '127.0.0.1');
  await sleep(SILENCE_MS);
  assert.is(heard, 0);
  other.close();
});

test('closing frees the port, and closing twice is fine', async () => {
  await server.close();
  await server.close();
  const socket = createSocket('udp4').bind(port, '127.0.0.1');
  await once(socket, 'listening');
  socket.close();
});

// ---- on a link ----

const HOST = HOSTS[0] ?? '';
const bytesOf = (ip: string, to: number) =>
  Buffer.from([...ip.split('.').map(Number), to >> 8, to & 255]).toString('hex');
const SUBSCRIBER = bytesOf(HOST, 9101);

/** A client on the far side of the link. */
function farWire(link: Link): Promise<Wire> {
  return Wire.open(REPLICATOR_IP, 12345, addon.openUdp(link.net, { ip: HOST, port: 0 }));
}

networkTest(
  test,
  'fantail up serves it where its packets come from',
  { queues: 1 },
  async (link) => {
    const flags = ['--legacy-control', REPLICATOR_IP];
    await withReplicator({ link, flags }, async (replicator) => {
      assert.match(replicator.program.stdout, /^ready .* legacy=10\.77\.0\.1:12345$/m);
      assert.match(
        replicator.program.stderr,
        /WARN.*legacy control on UDP 10\.77\.0\.1:12345 asks nobody/,
      );
      const far = await farWire(link);
      const dialogue: [string, string][] = [
        ['03', '00'],
        [`01${SUBSCRIBER}`, '01'],
        ['03', `01${SUBSCRIBER}`],
        [`01${bytesOf(REPLICATOR_IP, 9101)}`, '00'], // fantail's own address
        [`01${bytesOf(REPLICATOR_IP, 9000)}`, '00'], // its feed
        [`01${bytesOf('10.77.0.255', 9101)}`, '00'], // broadcast
        [`01${bytesOf('224.0.0.1', 9101)}`, '00'],
        [`01${bytesOf('10.78.0.1', 9101)}`, '00'], // outside what is allowed
        ['01 00 00 00 00 00 00', '00'],
        [`01${bytesOf(NOBODY_IP, 9101)}`, '01'],
        [`02${bytesOf(NOBODY_IP, 9101)}`, '01'],
        [`02${bytesOf('10.78.0.1', 9101)}`, '01'],
        ['03', `01${SUBSCRIBER}`],
      ];
      for (const [request, reply] of dialogue) assert.is(await far.ask(request), reply, request);
      assert.equal(
        (await replicator.list()).map(({ ip, port: at }) => `${ip}:${at}`),
        [`${HOST}:9101`],
        'the control channel sees the same table',
      );
      await replicator.remove({ ip: HOST, port: 9101 });
      assert.is(await far.ask('03'), '00');
      far.close();
    });
  },
);

networkTest(test, 'a list longer than the MTU arrives whole', { queues: 1 }, async (link) => {
  await withReplicator({ link, flags: ['--legacy-control', REPLICATOR_IP] }, async (replicator) => {
    for (let each = 0; each < 260; each++) await replicator.add({ ip: HOST, port: 10_000 + each });
    const far = await farWire(link);
    const reply = await far.ask('03');
    assert.is(reply.length / 2, 1531);
    assert.is(reply.slice(0, 14), `ff${bytesOf(HOST, 10_000)}`);
    assert.is(reply.slice(-12), bytesOf(HOST, 10_254));
    assert.match(replicator.program.stderr, /255 of 260 subscribers/);
    far.close();
  });
});

networkTest(
  test,
  'an address that is not the interface’s is the caller’s',
  { queues: 1 },
  async (link) => {
    const { fd, port: free } = await bound();
    const flags = ['--mode', 'socket', '--legacy-control', `127.0.0.1:${free}`];
    const { program } = await startUp({ link, flags });
    await program.wait();
    assert.is(program.end?.status, 1, 'a port that is taken is an error');
    assert.match(program.stderr, /legacy control: UDP 127\.0\.0\.1:\d+ is in use/);
    createSocket('udp4').bind({ fd }).close();
    await withReplicator({ link, flags }, async () => {
      const near = await Wire.open('127.0.0.1', free);
      assert.is(await near.ask(`01${SUBSCRIBER}`), '01');
      assert.is(await near.ask('03'), `01${SUBSCRIBER}`);
      near.close();
    });
  },
);

networkTest(test, 'without the flag nobody listens', { queues: 1 }, async (link) => {
  await withReplicator({ link, flags: ['--mode', 'socket'] }, async () => {
    const far = await farWire(link);
    far.send('03');
    await sleep(SILENCE_MS);
    assert.equal([far.replies, far.errors], [[], ['ECONNREFUSED']]);
    far.close();
  });
  const program = await fantail(['up', 'lo', '127.0.0.1', '9000', '--legacy-control', '192.0.2.1']);
  assert.is(program.end?.status, 1);
  assert.match(
    program.stderr,
    /legacy control: 192\.0\.2\.1:12345 is not an address of this machine/,
  );
});

test.run();
