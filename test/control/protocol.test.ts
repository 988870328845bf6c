/**
 * Goal: three encodings, one request; and nothing that anybody can send is taken for what it is
 * not. Method: each encoding of each operation; tables of wrong input with the code and id that
 * must come back; frames made to hurt a decoder; seeded damage to good frames.
 *
 * needs: a core
 */
import { Packr, pack, unpack } from 'msgpackr/pack';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Asked,
  Codec,
  type Encoding,
  encodeAnswer,
  encodeError,
  encodeEvent,
  type Frame,
  type Id,
  type Refused,
} from '../../src/control/codec.js';
import { MESSAGE_SIZE_MAX } from '../../src/control/constants.js';
import { statsLines } from '../../src/control/lines.js';
import { type Answer, operations, type Question } from '../../src/control/operations.js';
import { FantailError } from '../../src/domain/errors.js';
import type { SubscriberRow } from '../../src/domain/statistics.js';
import { limits } from '../../src/memory/layout.js';
import { busyStats, emptyStats } from '../rig/memory-replicator.js';
import { random } from '../rig/random.js';

const test = suite('protocol');

const codec = new Codec(operations);

type Decoded = Omit<Asked, 'operation'> | Omit<Refused, 'operation'>;

/** What a message is, without the row of its operation. */
function decode(frame: Buffer, isBinary: boolean): Decoded {
  const { operation: _, ...decoded } = codec.decode(frame, isBinary);
  return decoded;
}

/** The frame that answers it. */
function answered<Asked extends Question>(
  encoding: Encoding,
  id: Id | undefined,
  question: Asked,
  answer: Answer<Asked['op']>,
): Frame {
  const asked = { encoding, id, operation: operations[question.op], request: question };
  return encodeAnswer(asked, answer);
}

const text = (line: string) => decode(Buffer.from(line), false);
const json = (value: unknown) => text(JSON.stringify(value));
const msgpack = (value: unknown) => decode(pack(value), true);

function requestOf(decoded: Decoded): unknown {
  return 'request' in decoded ? decoded.request : decoded.error;
}

function codeOf(decoded: Decoded): string {
  return 'request' in decoded ? 'a request' : decoded.error.code;
}

const samples: [line: string, request: object][] = [
  ['add 10.0.0.34 9001', { op: 'add', ip: '10.0.0.34', port: 9001 }],
  ['remove 10.0.0.34 65535', { op: 'remove', ip: '10.0.0.34', port: 65535 }],
  ['pause 10.0.0.34 9001', { op: 'pause', ip: '10.0.0.34', port: 9001 }],
  ['resume 10.0.0.34 9001', { op: 'resume', ip: '10.0.0.34', port: 9001 }],
  ['list', { op: 'list' }],
  ['stats', { op: 'stats' }],
  ['stats queues', { op: 'stats', queues: true }],
  ['watch 1', { op: 'watch', seconds: 1 }],
  ['watch 0.5', { op: 'watch', seconds: 0.5 }],
  ['unwatch', { op: 'unwatch' }],
  ['changes', { op: 'changes' }],
  ['changes 20', { op: 'changes', count: 20 }],
  ['help', { op: 'help' }],
  ['auth s3cret', { op: 'auth', token: 's3cret' }],
];

test('each operation is the same request typed, in JSON and in msgpack', () => {
  for (const [line, request] of samples) {
    assert.equal(text(line), { encoding: 'text', id: undefined, request });
    assert.equal(text(`  ${line.replaceAll(' ', '   ')} \n`), {
      encoding: 'text',
      id: undefined,
      request,
    });
    assert.equal(json({ id: 7, ...request }), { encoding: 'json', id: 7, request });
    assert.equal(msgpack({ ...request, id: 'a' }), { encoding: 'msgpack', id: 'a', request });
  }
});

const WASM = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const WASM_BASE64 = Buffer.from(WASM).toString('base64');
const bytesOf = (words: string) => new Uint8Array(Buffer.from(words));
const one = { ip: '10.0.0.34', port: 9001 };

/** How it is typed, what it means, and how a program writes it in JSON. */
const filterOperations: [line: string, request: object, json: object][] = [
  [`filter load mine base64:${WASM_BASE64}`, { module: WASM }, { module: WASM_BASE64 }],
  [`filter load mine ${WASM_BASE64}`, { module: WASM }, { module: `base64:${WASM_BASE64}` }],
  ['filter info mine', {}, {}],
  ['filter unload mine', {}, {}],
  ['filter use mine', {}, {}],
  ['filter use mine 10.0.0.34 9001', one, one],
  ['filter use mine dscp=46', { param: bytesOf('dscp=46') }, { param: 'dscp=46' }],
  [
    'filter use mine 10.0.0.34 9001 dscp=46 ttl=8',
    { ...one, param: bytesOf('dscp=46 ttl=8') },
    { ...one, param: 'dscp=46 ttl=8' },
  ],
  ['filter use mine hex:00ff', { param: Uint8Array.from([0, 255]) }, { param: 'hex:00fF' }],
];

test('each filter operation is the same request typed, in JSON and in msgpack', () => {
  assert.equal(requestOf(text('filter list')), { op: 'filter.list' });
  for (const [line, request, written] of filterOperations) {
    const head = { op: `filter.${line.split(' ')[1]}`, name: 'mine' };
    const expected: Record<string, unknown> = { ...head, ...request };
    assert.equal(requestOf(text(line)), expected, line);
    assert.equal(requestOf(json({ ...head, ...written })), expected, line);
    assert.equal(requestOf(msgpack({ ...head, ...written })), expected, line);
    const decoded = requestOf(msgpack(expected)) as Record<string, unknown>; // bytes stay bytes
    for (const [key, value] of Object.entries(expected))
      assert.equal(
        value instanceof Uint8Array ? new Uint8Array(decoded[key] as Uint8Array) : decoded[key],
        value,
      );
  }
});

test('a filter operation that is wrong says so, and a module may be a megabyte', () => {
  const load = (module: unknown) => ({ op: 'filter.load', name: 'x', module });
  const wrong: [request: object | string, code: string][] = [
    ['filter', 'UNKNOWN_OP'],
    ['filter lod x', 'UNKNOWN_OP'],
    ['filter use', 'BAD_REQUEST'],
    ['filter load x', 'BAD_REQUEST'],
    ['filter info', 'BAD_REQUEST'],
    ['filter list x', 'BAD_REQUEST'],
    ['filter use x hex:0', 'BAD_REQUEST'],
    ['filter use x 10.0.0.34 70000', 'BAD_ADDRESS'],
    [load('not base64!'), 'BAD_REQUEST'],
    [load(''), 'BAD_REQUEST'],
    [load(7), 'BAD_REQUEST'],
    [load(undefined), 'BAD_REQUEST'],
    [{ ...load(WASM_BASE64), file: '/etc/passwd' }, 'BAD_REQUEST'], // a path is never accepted
    [{ op: 'filter.use', name: 'x', param: 'y'.repeat(65) }, 'BAD_REQUEST'],
    [{ op: 'filter.use', name: 'x', param: 7 }, 'BAD_REQUEST'],
    [{ op: 'filter.use', name: '' }, 'BAD_REQUEST'],
    [{ op: 'filter.info', name: 'x'.repeat(33) }, 'BAD_REQUEST'],
    [load(Buffer.alloc(limits.MODULE_SIZE_MAX + 4).toString('base64')), 'TOO_LARGE'],
    [{ op: 'add', ip: '10.0.0.1', port: 1, module: 'A'.repeat(MESSAGE_SIZE_MAX) }, 'TOO_LARGE'],
  ];
  for (const [request, code] of wrong) {
    const decoded = typeof request === 'string' ? text(request) : json(request);
    assert.is(codeOf(decoded), code, JSON.stringify(request).slice(0, 80));
  }
  const largest = Buffer.alloc(limits.MODULE_SIZE_MAX);
  for (const decoded of [
    json(load(largest.toString('base64'))),
    msgpack(load(largest)),
    text(`filter load x base64:${largest.toString('base64')}`),
  ])
    assert.is((requestOf(decoded) as { module?: Uint8Array }).module?.length, largest.length);
});

test('msgpack of other writers is read: 64-bit integers and msgpackr records', () => {
  const int64 = Buffer.from(
    '83a26f70a3616464a26970a931302e302e302e3334a4706f7274d30000000000002329',
    'hex',
  );
  assert.equal(requestOf(decode(int64, true)), { op: 'add', ip: '10.0.0.34', port: 9001 });
  const records = new Packr();
  for (let turn = 0; turn < 3; turn++) {
    const frame = records.pack({ id: turn, op: 'list' });
    assert.equal(decode(frame, true), { encoding: 'msgpack', id: turn, request: { op: 'list' } });
  }
});

test('an address is a dotted quad without leading zeros', () => {
  const bad = [
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.01',
    '10.0.0.1 ',
    '::1',
    'localhost',
    '',
    '0x0a000001',
    '1',
  ];
  for (const ip of [...bad, '10.0.0.1\n', 5, null, true, {}, ['10.0.0.1']]) {
    assert.is(
      codeOf(json({ op: 'add', ip, port: 9001 })),
      'BAD_ADDRESS',
      `ip ${JSON.stringify(ip)}`,
    );
    assert.is(
      codeOf(msgpack({ op: 'remove', ip, port: 9001 })),
      'BAD_ADDRESS',
      `ip ${JSON.stringify(ip)}`,
    );
  }
  assert.is(codeOf(text('add 10.0.0.300 9001')), 'BAD_ADDRESS');
});

test('a port is an integer from 1 to 65535', () => {
  for (const port of [0, -1, 65536, 9001.5, 1e300, '9001', null, true, [9001]]) {
    assert.is(
      codeOf(json({ op: 'add', ip: '10.0.0.1', port })),
      'BAD_ADDRESS',
      `port ${JSON.stringify(port)}`,
    );
  }
  for (const port of [Number.NaN, Number.POSITIVE_INFINITY, 2n ** 63n]) {
    assert.is(codeOf(msgpack({ op: 'add', ip: '10.0.0.1', port })), 'BAD_ADDRESS', `port ${port}`);
  }
  for (const port of [
    '0',
    '-1',
    '65536',
    '09001',
    '9001.0',
    '9e3',
    '0x10',
    'x',
    '99999999999999999999',
  ]) {
    assert.is(codeOf(text(`add 10.0.0.1 ${port}`)), 'BAD_ADDRESS', `port ${port}`);
  }
});

test('a request with a part missing, unknown or of the wrong kind is refused', () => {
  const bad: unknown[] = [
    {},
    { op: 5 },
    { op: null },
    { op: 'add' },
    { op: 'add', ip: '10.0.0.1' },
    { op: 'add', port: 9001 },
    { op: 'list', extra: 1 },
    { op: 'add', ip: '10.0.0.1', port: 9001, force: true },
    { op: 'watch' },
    { op: 'watch', seconds: 0 },
    { op: 'watch', seconds: 0.05 },
    { op: 'watch', seconds: 3601 },
    { op: 'watch', seconds: '1' },
    ...[0, 257, 1.5, '2', null].map((count) => ({ op: 'changes', count })),
    { op: 'auth' },
    { op: 'auth', token: '' },
    { op: 'auth', token: 5 },
    { op: 'auth', token: 'x'.repeat(1025) },
  ];
  for (const value of bad) {
    assert.is(codeOf(json(value)), 'BAD_REQUEST', JSON.stringify(value));
    assert.is(codeOf(msgpack(value)), 'BAD_REQUEST', JSON.stringify(value));
  }
  for (const value of [null, 5, 'list', [], [{ op: 'list' }], true]) {
    assert.is(codeOf(msgpack(value)), 'BAD_REQUEST', JSON.stringify(value));
  }
  const lines = [
    '',
    '   ',
    'add',
    'add 10.0.0.1',
    'add 10.0.0.1 9001 x',
    'list x',
    'watch',
    'watch x',
    'watch -1',
  ];
  for (const line of [
    ...lines,
    'watch 0',
    'watch 1e3',
    'changes x',
    'changes 1 2',
    'auth',
    'auth a b',
    'list\nlist',
  ]) {
    assert.is(codeOf(text(line)), 'BAD_REQUEST', JSON.stringify(line));
  }
  for (const line of ['{', '{}x', '{"op":"list"', "{'op':'list'}", '{"op":"list",}']) {
    assert.is(codeOf(text(line)), 'BAD_REQUEST', line);
  }
});

test('an operation that does not exist is UNKNOWN_OP, also where JavaScript has that name', () => {
  for (const op of [
    'lst',
    'LIST',
    '',
    'constructor',
    'toString',
    '__proto__',
    'hasOwnProperty',
    'filter.lod',
  ]) {
    assert.is(codeOf(json({ op })), 'UNKNOWN_OP', op);
    if (op !== '') assert.is(codeOf(text(op)), 'UNKNOWN_OP', op);
  }
  assert.is(codeOf(text(' {"op":"list"}')), 'UNKNOWN_OP');
  assert.is(codeOf(text('{"op":"list","__proto__":{"x":1}}')), 'BAD_REQUEST');
  assert.is(codeOf(text('{"__proto__":{"op":"list"}}')), 'BAD_REQUEST');
});

test('the id comes back even where the rest is wrong', () => {
  assert.is(json({ id: 3, op: 'lst' }).id, 3);
  assert.is(json({ id: 'x', op: 'add', ip: 'y', port: 1 }).id, 'x');
  assert.is(json({ id: 4 }).id, 4);
  assert.is(json({ id: 0, op: 'list' }).id, 0);
  assert.is(json({ id: '', op: 'list' }).id, '');
  for (const id of [null, 1.5, 2 ** 53, true, {}, [], 'x'.repeat(129)]) {
    const decoded = json({ id, op: 'list' });
    assert.is(codeOf(decoded), 'BAD_REQUEST', JSON.stringify(id));
    assert.is(decoded.id, undefined);
  }
});

test('64 KiB are taken and one byte more is TOO_LARGE, with its id', () => {
  const sized = (size: number) => {
    const head = '{"id":9,"op":"list"';
    return text(`${head}${' '.repeat(size - head.length - 1)}}`);
  };
  assert.is(codeOf(sized(MESSAGE_SIZE_MAX)), 'a request');
  assert.is(codeOf(sized(MESSAGE_SIZE_MAX + 1)), 'TOO_LARGE');
  assert.is(sized(MESSAGE_SIZE_MAX + 1).id, 9);
  const big = msgpack({ id: 9, op: 'x'.repeat(MESSAGE_SIZE_MAX) });
  assert.equal([codeOf(big), big.id], ['TOO_LARGE', 9]);
  assert.is(codeOf(text('x'.repeat(MESSAGE_SIZE_MAX + 1))), 'TOO_LARGE');
  assert.is(codeOf(text(`{${'x'.repeat(MESSAGE_SIZE_MAX)}`)), 'TOO_LARGE');
  assert.is(codeOf(decode(Buffer.alloc(MESSAGE_SIZE_MAX + 1, 0xc1), true)), 'TOO_LARGE');
});

test('frames made to hurt the decoder are refused quickly', () => {
  const frames: [name: string, frame: Buffer, isBinary: boolean][] = [
    ['list of 2^32-1', Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), true],
    ['map of 2^32-1', Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]), true],
    ['string of 4 GiB', Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x41]), true],
    ['bytes of 4 GiB', Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff, 0x41]), true],
    ['lists 65535 deep', Buffer.alloc(65535, 0x91), true],
    ['maps 65535 deep', Buffer.alloc(65535, 0x81), true],
    ['JSON 65535 deep', Buffer.from(`{"op":${'['.repeat(65520)}`), false],
    [
      'big integer of 65000 bytes',
      Buffer.concat([Buffer.from([0xc8, 0xfd, 0xe8, 0x42]), Buffer.alloc(65000, 1)]),
      true,
    ],
    ['bytes after the end', Buffer.concat([pack({ op: 'list' }), Buffer.from([0])]), true],
    ['empty binary', Buffer.alloc(0), true],
    ['empty text', Buffer.alloc(0), false],
    ['an extension alone', Buffer.from([0xd4, 0x01, 0x00]), true],
  ];
  for (const [name, frame, isBinary] of frames) {
    const before = process.cpuUsage();
    assert.is(codeOf(decode(frame, isBinary)), 'BAD_REQUEST', name);
    const { user, system } = process.cpuUsage(before); // µs; of this process, whoever else is busy
    assert.ok(user + system < 500_000, `${name} took ${user + system} µs of CPU time`);
  }
  assert.equal(requestOf(json({ op: 'list' })), { op: 'list' }, 'and the decoder still works');
});

test('100,000 damaged frames are each a request or a refusal, never a fault', () => {
  const { below } = random('protocol');
  const allowed = new Set(['a request', 'BAD_REQUEST', 'UNKNOWN_OP', 'BAD_ADDRESS', 'TOO_LARGE']);
  for (let turn = 0; turn < 100_000; turn++) {
    const [line, request] = samples[below(samples.length)] ?? ['', {}];
    const isBinary = below(2) === 0;
    const good = isBinary
      ? pack({ id: turn, ...request })
      : Buffer.from(below(2) === 0 ? line : JSON.stringify(request));
    const frame = Buffer.from(good.subarray(0, below(8) === 0 ? below(good.length) : good.length));
    for (let hits = below(4); hits > 0 && frame.length > 0; hits--)
      frame[below(frame.length)] = below(256);
    const code = codeOf(decode(frame, isBinary));
    assert.ok(allowed.has(code), `${code} from ${frame.toString('hex')}, binary ${isBinary}`);
  }
});

test('errors quote what was sent in one printable line of bounded length', () => {
  const decoded = json({ op: `\u001b[2J\n${'x'.repeat(5000)}` });
  assert.ok('error' in decoded);
  assert.match(decoded.error.message, /^[\x20-\x7e…]{1,300}$/);
});

test('answers carry id and ok, and are the same object in JSON and msgpack', () => {
  const add = { op: 'add', ip: '10.0.0.34', port: 9001 } as const;
  const existing = { existing: true };
  assert.is(answered('json', 1, add, existing), '{"id":1,"ok":true,"existing":true}');
  assert.equal(unpack(answered('msgpack', 1, add, existing) as Buffer), {
    id: 1,
    ok: true,
    existing: true,
  });
  assert.is(answered('json', undefined, { op: 'unwatch' }, {}), '{"ok":true}');
  const error = new FantailError('TABLE_FULL', 'full; remove one');
  assert.is(
    encodeError({ encoding: 'json', id: 'x' }, error),
    '{"id":"x","ok":false,"error":{"code":"TABLE_FULL","message":"full; remove one"}}',
  );
  assert.equal(unpack(encodeError({ encoding: 'msgpack', id: 2 }, error) as Buffer), {
    id: 2,
    ok: false,
    error: { code: 'TABLE_FULL', message: 'full; remove one' },
  });
});

test('typed answers have their rows first and ok or error as the last line', () => {
  const row: SubscriberRow = {
    ip: '10.0.0.34',
    port: 9001,
    state: 'live',
    mac: null,
    worker: 1,
    filter: 'default',
    feeds: ['main'],
    expires_s: null,
  };
  assert.is(
    answered('text', 1, { op: 'list' }, { subscribers: [row] }),
    '10.0.0.34 9001 live - worker 1 filter default feeds main\nok 1 subscriber',
  );
  assert.is(answered('text', 1, { op: 'list' }, { subscribers: [] }), 'ok 0 subscribers');
  assert.is(
    answered('text', 1, { op: 'help' }, { protocol: 1, help: ['a', 'b'] }),
    ['a', 'b', 'ok'].join('\n'),
  );
  const stats = String(answered('text', 1, { op: 'stats' }, busyStats(5))).split('\n');
  assert.is(stats.at(-1), 'ok 1 subscriber');
  assert.ok(stats.includes('subscriber 10.0.0.34 9001 received 5 sent 5 in_flight 0 bytes 710'));
  const lead_ns = { count: 3, mean: 100, max: 200 };
  const line = { feed: 'b', ip: '239.1.1.1', port: 5000, won: 4, late: 1, lead_ns };
  const who = { worker: 0, feeds: ['main', 'b'], param: 'seq=0,4', subscribers: 3 };
  const set = { ...who, gaps: 2, missing: 7, last_gaps: [], lines: [line] };
  const report = { gaps: 3, missing: 9, too_short: 1, no_room: 5, sets: [set] };
  const faults = { hash: null, traps: 0, bad_answers: 0 };
  const loaded = [
    { name: 'rewrite', ...faults },
    { name: 'ab', ...faults, report },
  ];
  const told = statsLines({ ...emptyStats(), filters: { loaded, rollbacks: [] } });
  assert.equal(told.slice(-3), [
    'filter ab gaps 3 missing 9 too_short 1 no_room 5',
    'set ab worker 0 feeds main,b subscribers 3 gaps 2 missing 7 param seq=0,4',
    'line ab worker 0 feeds main,b feed b 239.1.1.1 5000 won 4 late 1 leads 3 lead_ns 100 200',
  ]);
  assert.is(
    encodeError({ encoding: 'text', id: 1 }, new FantailError('BUSY', 'try again')),
    'error BUSY try again',
  );
});

test('an event is one object with the counters, and one line if typed', () => {
  const stats = busyStats(5);
  assert.equal(JSON.parse(String(encodeEvent('json', stats))), { event: 'stats', ...stats });
  assert.equal(unpack(encodeEvent('msgpack', stats) as Buffer), { event: 'stats', ...stats });
  assert.is(
    encodeEvent('text', stats),
    'stats uptime_ms 1000 received 5 subscribers 1 sent 5 in_flight 0 dropped 0',
  );
});

test.run();
