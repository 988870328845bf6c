/**
 * Goal: `fantail filter new`, `build` and `test` take somebody from nothing to a filter that has
 * been tried, and each wrong input is one line that says what to do. Filters in C and by hand are
 * tried the same way.
 *
 * needs: a core
 * takes: 120 s
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Failure } from '../../src/domain/errors.js';
import { checkModule, compileByRules } from '../../src/filters/check/checker.js';
import { samplePacket } from '../../src/filters/check/samples.js';
import { limits, structOf } from '../../src/memory/layout.js';
import { layersOf } from '../../src/workbench/frame.js';
import { readPcap } from '../../src/workbench/pcap.js';
import { capturedPackets, type Outcome, Trial } from '../../src/workbench/trial.js';
import { ROOT } from '../rig/program.js';

const test = suite('filter command');
const PROGRAM = join(ROOT, 'build', 'programs', 'main.js');
const stock = (name: string) => join(ROOT, 'build', 'filters', `${name}.wasm`);

interface Finished {
  status: number;
  stdout: string;
  stderr: string;
}

let folder: string;
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fantail-filter-'));
});
test.after(() => rmSync(folder, { recursive: true }));

function filter(...words: string[]): Promise<Finished> {
  return new Promise((resolve) => {
    const options = { timeout: 60_000, cwd: folder };
    execFile(process.execPath, [PROGRAM, 'filter', ...words], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      resolve({ status: typeof code === 'number' ? code : -1, stdout, stderr });
    });
  });
}

async function succeeds(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await filter(...words);
  assert.is(stderr, '', words.join(' '));
  assert.is(status, 0, words.join(' '));
  return stdout;
}

/** One line on stderr; what went well before may stand on stdout. */
async function refuses(status: number, pattern: RegExp, ...words: string[]): Promise<string> {
  const outcome = await filter(...words);
  const what = `filter ${words.join(' ')}: ${JSON.stringify(outcome)}`;
  assert.is(outcome.status, status, what);
  assert.match(outcome.stderr, /^fantail filter[^\n]*\n$/, what);
  assert.match(outcome.stderr, pattern, what);
  return outcome.stdout;
}

function put(name: string, contents: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

const wat = (text: string): Uint8Array => {
  const module = binaryen.parseText(text);
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
};
/** A module whose burst is that, on one job at (local.get 0). */
const moduleOf = (burst: string) =>
  wat(`(module (import "env" "memory" (memory 0)) (func (export "fantail_abi") (result i32) (i32.const 1))
    (func (export "fantail_burst") (param i32 i32 i32) ${burst}))`);

// ---- new, build, test ---------------------------------------------------------------------------

test('new, build and test lead from a name to a filter that has been tried', async () => {
  assert.match(
    await succeeds('new', 'my-first'),
    /^made .*my-first; next: fantail filter build my-first\n$/,
  );
  const made = readdirSync(join(folder, 'my-first')).sort();
  assert.equal(made, ['.gitignore', 'README.md', 'asconfig.json', 'fantail', 'my-first.ts']);
  assert.match(
    await succeeds('build', 'my-first'),
    /^built .*my-first\.wasm \(\d+ bytes\), which keeps the rules\n$/,
  );
  const module = join('my-first', 'build', 'my-first.wasm');
  checkModule(readFileSync(join(folder, module)));
  assert.match(await succeeds('test', module, '--param', 'ttl=9'), /ipv4 .*ttl 9 {2}length 228\n/);
  const lines = (await succeeds('test', module, '--json'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(
    lines.map((line) => line.outcome),
    ['drop', 'send', 'send', 'send', 'send'],
  );
  const { header, layers, ...rest } = lines[3];
  assert.equal(rest, {
    packet: 4,
    length: 242,
    outcome: 'send',
    header_start: 64,
    header_length: 42,
    replaced: 42,
  });
  assert.is(header.length, 84);
  assert.equal(
    layers.map((each: { layer: string }) => each.layer),
    ['ethernet', 'ipv4', 'udp'],
  );
  assert.equal(
    layers.flatMap((each: { wrong: string[] }) => each.wrong),
    [],
  );
});

test('a project stands alone: the SDK is in it, and nothing in it leads out', async () => {
  await succeeds('new', 'alone');
  const files = readdirSync(join(folder, 'alone', 'fantail')).map((name) => join('fantail', name));
  for (const name of ['alone.ts', ...files]) {
    const text = readFileSync(join(folder, 'alone', name), 'utf8');
    for (const [, from = ''] of text.matchAll(/^(?:import|export) .*from '(.*)';$/gm)) {
      assert.ok(existsSync(join(folder, 'alone', name, '..', `${from}.ts`)), `${name}: ${from}`);
    }
  }
});

test('new refuses a folder that is there, and a name that makes no good file', async () => {
  await succeeds('new', 'twice');
  await refuses(1, /twice is there already; choose another name or remove it/, 'new', 'twice');
  for (const name of ['', 'A', '../up', 'a b', '9a', 'x'.repeat(33), 'a/b', '.'])
    await refuses(
      2,
      /name must be up to 32 of a-z, 0-9 and -, beginning with a letter, not '/,
      'new',
      name,
    );
});

test('build says file, line and column of what does not compile', async () => {
  await succeeds('new', 'wrong');
  const source = join(folder, 'wrong', 'wrong.ts');
  const text = readFileSync(source, 'utf8');
  const line = text.slice(0, text.indexOf('this.rewrite();')).split('\n').length;
  writeFileSync(source, text.replace('this.rewrite();', 'this.rewrit();'));
  await refuses(
    1,
    new RegExp(`^fantail filter build: wrong\\.ts:${line}:10: Property 'rewrit' does not exist`),
    'build',
    'wrong',
  );
  writeFileSync(source, text.replace('this.rewrite();', 'this.rewrite(;'));
  await refuses(
    1,
    new RegExp(`^fantail filter build: wrong\\.ts:${line}:\\d+: `),
    'build',
    'wrong',
  );
  writeFileSync(source, text.replace('./fantail/rewrite', './fantail/nothing'));
  await refuses(1, /wrong\.ts:\d+:\d+: File '.*nothing.*' not found/, 'build', 'wrong');
});

test('build refuses what a replicator would refuse, by its rule', async () => {
  await succeeds('new', 'grows');
  const source = join(folder, 'grows', 'grows.ts');
  const text = readFileSync(source, 'utf8');
  writeFileSync(
    source,
    text.replace('this.rewrite();', 'this.rewrite(); if (this.length == 7) memory.grow(1);'),
  );
  await refuses(
    1,
    /grows\.wasm is refused: function \d+.* uses memory\.grow: growing detaches/,
    'build',
    'grows',
  );
  await refuses(1, /has no asconfig\.json; make a filter with: fantail filter new <name>/, 'build');
  await refuses(1, /nowhere has no asconfig\.json/, 'build', 'nowhere');
  put('grows/asconfig.json', '{"entries": ["grows.ts"]}');
  await refuses(1, /\S/, 'build', 'grows');
});

test('misuse is one line and status 2', async () => {
  await refuses(2, /which command\? one of new, build, test/);
  await refuses(2, /unknown command 'tset'/, 'tset');
  await refuses(
    2,
    /^fantail filter new: missing required argument 'name'; see: fantail filter new --help/,
    'new',
  );
  await refuses(2, /missing required argument 'file.wasm'/, 'test');
  await refuses(
    2,
    /unknown option '--parm'; did you mean --param\?/,
    'test',
    stock('vlan'),
    '--parm',
    'x',
  );
  await refuses(
    2,
    /--param may have 64 bytes, not 65/,
    'test',
    stock('vlan'),
    '--param',
    'x'.repeat(65),
  );
  await refuses(
    2,
    /--param must be text, or hex: and pairs/,
    'test',
    stock('vlan'),
    '--param',
    'hex:4',
  );
  await refuses(
    2,
    /--udp-checksum must be zero or full, not 'no'/,
    'test',
    stock('vlan'),
    '--udp-checksum',
    'no',
  );
  await refuses(2, /too many arguments/, 'build', 'a', 'b');
  for (const words of [[], ['new'], ['build'], ['test']]) {
    const help = await succeeds(...words, '--help');
    assert.match(help, new RegExp(`^Usage: ${['fantail', 'filter', ...words].join(' ')} `));
    assert.ok(help.split('\n').every((line) => line.length <= 100));
  }
});

// ---- trials -------------------------------------------------------------------------------------

test('test takes a parameter as text and as hex, and asks for UDP checksums', async () => {
  const text = await succeeds('test', stock('vlan'), '--param', 'vid=100 pcp=3');
  assert.match(text, /\n {2}vlan {2}vid 100 {2}pcp 3 {2}type 0x0800\n/);
  const hex = Buffer.from('vid=100 pcp=3').toString('hex');
  assert.is(await succeeds('test', stock('vlan'), '--param', `hex:${hex}`), text);
  const full = await succeeds('test', stock('gre'), '--udp-checksum', 'full');
  assert.match(full, /gre {2}type 0x0800\n {2}ipv4 .*\n {2}udp .*checksum 0x/);
  assert.not.match(full, /\[/, 'nothing is wrong');
  assert.match(await succeeds('test', stock('vlan')), /^packet 1 \(42 bytes\): drop\n/);
});

test('test shows traps and unlawful answers packet by packet, and exits 1', async () => {
  const long = '(i32.gt_u (i32.load offset=4 (local.get 0)) (i32.const 100))';
  const drop = '(i32.store offset=16 (local.get 0) (i32.const 0))';
  const traps = put('traps.wasm', moduleOf(`(if ${long} (then (unreachable))) ${drop}`));
  const shown = await refuses(1, /traps\.wasm is refused: /, 'test', traps);
  assert.match(shown, /^packet 1 \(42 bytes\): drop\n/);
  assert.match(
    shown,
    /packet 4 \(242 bytes\): trap: function 1, byte 0x\w+, fails in .*: unreachable\n/,
  );
  const writes = put(
    'writes.wasm',
    moduleOf(`(i32.store (i32.load (local.get 0)) (i32.const 9)) ${drop}`),
  );
  assert.match(
    await refuses(1, /writes\.wasm is refused/, 'test', writes),
    /bad answer: it writes at .* to the packets/,
  );
  const silent = put('silent.wasm', moduleOf('(nop)'));
  const json = await refuses(1, /silent\.wasm is refused/, 'test', silent, '--json');
  assert.equal(JSON.parse(json.split('\n')[0] ?? ''), {
    packet: 1,
    length: 42,
    outcome: 'bad_answer',
    why: 'it is not answered',
  });
});

test('test says which rule refuses a module, and what is no module or not there', async () => {
  const grows = put('grow.wasm', moduleOf('(drop (memory.grow (i32.const 0)))'));
  await refuses(1, /grow\.wasm is refused: function 1.* uses memory\.grow/, 'test', grows);
  await refuses(1, /not a WebAssembly module/, 'test', put('text.wasm', 'hello'));
  await refuses(1, /cannot read .*nowhere\.wasm: ENOENT/, 'test', 'nowhere.wasm');
  await refuses(1, /cannot read .*nowhere\.pcap: ENOENT/, 'test', stock('rewrite'), 'nowhere.pcap');
  await refuses(1, /no capture: /, 'test', stock('rewrite'), put('text.pcap', 'hello'));
});

// ---- captures -----------------------------------------------------------------------------------

interface Shape {
  readonly littleEndian: boolean;
  readonly nanoseconds: boolean;
}

/** A classic pcap of those packets, a microsecond apart. */
function pcap(packets: readonly Uint8Array[], { littleEndian, nanoseconds }: Shape): Buffer {
  const words = (...values: number[]) => {
    const bytes = Buffer.alloc(4 * values.length);
    for (const [index, value] of values.entries()) {
      if (littleEndian) bytes.writeUInt32LE(value, 4 * index);
      else bytes.writeUInt32BE(value, 4 * index);
    }
    return bytes;
  };
  const version = littleEndian ? 0x00040002 : 0x00020004;
  const head = words(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, version, 0, 0, 65535, 1);
  const records = packets.map((packet, index) => {
    const fraction = nanoseconds ? 1000 * index : index;
    return Buffer.concat([words(1_700_000_000, fraction, packet.length, packet.length), packet]);
  });
  return Buffer.concat([head, ...records]);
}

const USUAL: Shape = { littleEndian: true, nanoseconds: false };

test('a capture is read in both byte orders, with microseconds and nanoseconds', () => {
  const packets = [samplePacket(5), samplePacket(200)];
  for (const littleEndian of [true, false]) {
    for (const nanoseconds of [true, false]) {
      const read = readPcap(pcap(packets, { littleEndian, nanoseconds }));
      assert.equal(
        read.map(({ bytes }) => Buffer.from(bytes)),
        packets.map((each) => Buffer.from(each)),
      );
      assert.equal(
        read.map(({ timeNs }) => timeNs),
        [1_700_000_000_000_000_000n, 1_700_000_000_000_001_000n],
      );
    }
  }
});

test('test goes through a capture, and says why a packet would never reach a filter', async () => {
  const good = samplePacket(200);
  const changed = (at: number, value: number) =>
    Uint8Array.from(good, (byte, index) => (index === at ? value : byte));
  const padded = Buffer.concat([samplePacket(1), Buffer.alloc(17)]);
  const odd = [
    changed(13, 0x06),
    changed(14, 0x46),
    changed(23, 6),
    changed(20, 0x20),
    changed(17, 9),
    changed(39, 9),
  ];
  const capture = put('some.pcap', pcap([good, padded, ...odd, good.slice(0, 30)], USUAL));
  const lines = (await succeeds('test', stock('stamp'), capture, '--param', 'offset=1', '--json'))
    .trim()
    .split('\n');
  const all = lines.map((line) => JSON.parse(line));
  assert.equal(
    all.map(({ outcome }) => outcome),
    ['send', 'send', ...Array(7).fill('skipped')],
  );
  assert.is(all[1].length, 43, 'padding is cut off');
  const stamp = Buffer.alloc(8);
  stamp.writeBigUInt64BE(1_700_000_000_000_000_000n);
  assert.is(all[0].header.slice(86), stamp.toString('hex'));
  const why = [
    'not IPv4',
    'options',
    'not UDP',
    'fragment',
    'IPv4 length',
    'UDP length',
    'shorter',
  ];
  for (const [index, words] of why.entries()) assert.match(all[index + 2].why, words);
});

test('state goes on from packet to packet of a capture', async () => {
  const mold = (source: number, sequence: number) => {
    const packet = samplePacket(20);
    packet.fill(0, 42);
    packet[29] = source;
    packet[59] = sequence;
    packet[61] = 1;
    return packet;
  };
  const capture = put(
    'ab.pcap',
    pcap([mold(1, 1), mold(2, 1), mold(1, 2), mold(1, 4), mold(2, 2), mold(2, 3)], USUAL),
  );
  const lines = (await succeeds('test', stock('dedupe'), capture, '--json')).trim().split('\n');
  assert.equal(
    lines.map((line) => JSON.parse(line).outcome),
    ['send', 'drop', 'send', 'send', 'drop', 'send'],
  );
});

test('dedupe takes the number of a message from where --param says', async () => {
  const numbered = (...bytes: readonly number[]) => {
    const packet = samplePacket(20);
    packet.set(bytes, 42 + 3);
    return packet;
  };
  const packets = [numbered(0, 5), numbered(0, 6), numbered(0, 5), numbered(6, 0)];
  const capture = put('numbered.pcap', pcap([...packets, samplePacket(3)], USUAL));
  const outcomes = async (param: string) =>
    (await succeeds('test', stock('dedupe'), capture, '--param', param, '--json'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).outcome);
  assert.equal(await outcomes('seq=3,2'), ['send', 'send', 'drop', 'send', 'send']);
  assert.equal(await outcomes('seq=4,1'), ['send', 'send', 'drop', 'send', 'send']);
  assert.equal(await outcomes('seq=3,1'), ['send', 'drop', 'drop', 'send', 'send']);
  assert.equal(await outcomes('seq=3,2,le'), ['send', 'send', 'drop', 'send', 'send']);
  assert.equal(await outcomes('seq=3'), Array(5).fill('drop'));
});

test('a capture that is damaged or of another kind is refused with the place', () => {
  const whole = pcap([samplePacket(5), samplePacket(6)], USUAL);
  const withWord = (at: number, value: number) => {
    const copy = Buffer.from(whole);
    copy.writeUInt32LE(value, at);
    return copy;
  };
  const rows: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /no capture: it has 0 bytes/],
    [whole.subarray(0, 23), /no capture: it has 23 bytes/],
    [withWord(0, 0x12345678), /no capture: a pcap file begins with one of its magic numbers/],
    [withWord(0, 0x0a0d0d0a), /in pcapng; convert it: editcap -F pcap/],
    [withWord(4, 1), /version 1 of pcap, not 2/],
    [withWord(20, 113), /link type 113, not 1/],
    [whole.subarray(0, 30), /ends inside the header of packet 1, at byte 24/],
    [whole.subarray(0, whole.length - 1), /ends inside packet 2, at byte 87/],
    [withWord(32, 300_000), /packet 1, at byte 24 of the capture claims 300000 bytes/],
    [withWord(32, 48), /claims 48 bytes of 47/],
    [whole.subarray(0, 24), /the capture has no packets/],
  ];
  for (const [file, sentence] of rows) {
    try {
      capturedPackets(file);
      assert.unreachable(`${sentence}`);
    } catch (error) {
      assert.ok(error instanceof Failure, `${error}`);
      assert.match(error.message, sentence);
    }
  }
  const short = withWord(36, 1000); // the wire had more
  assert.match(String(capturedPackets(short)[0]), /the capture has only 47 of its 1000 bytes/);
});

test('what is wrong about a frame is said, and no length of it is believed', () => {
  const good = samplePacket(10);
  const wrongOf = (bytes: Uint8Array) => layersOf(bytes).flatMap(({ wrong }) => wrong);
  const changed = (at: number, value: number) =>
    Uint8Array.from(good, (byte, index) => (index === at ? value : byte));
  assert.equal(wrongOf(good), []);
  assert.equal(wrongOf(changed(24, 1)), ['wrong checksum']);
  assert.equal(wrongOf(changed(41, 1)), ['wrong checksum']);
  assert.equal(wrongOf(changed(39, 9)), ['18 bytes are there']);
  for (let size = 0; size < good.length; size++)
    assert.ok(wrongOf(good.subarray(0, size)).length > 0, `${size}`);
  assert.equal(wrongOf(changed(13, 1)), [], 'another EtherType is none of its business');
});

// ---- filters in C and by hand -------------------------------------------------------------------

function outcomesOf(bytes: Uint8Array, packets: readonly Uint8Array[]): Outcome[] {
  checkModule(bytes);
  const trial = new Trial(compileByRules(bytes), {
    param: new Uint8Array(),
    checksum: 'zero',
  });
  return packets.map((packet) => trial.run({ receiveNs: 1n, bytes: packet }));
}

const headerOf = (outcome: Outcome | undefined) => {
  assert.is(outcome?.outcome, 'send');
  return outcome?.outcome === 'send' ? Buffer.from(outcome.header).toString('hex') : '';
};

test('a filter in C passes the checker, and gives right headers', async () => {
  const source = join(ROOT, 'test', 'workbench', 'filters', 'reverse.c');
  // as it tells its reader
  const told = /^ \* {3}(clang .*) \\\n \* {5}(.*)$/m.exec(readFileSync(source, 'utf8'));
  const command = `${told?.[1]} ${told?.[2]}`.split(' ');
  const words = command.slice(1).map((word) => (word === 'reverse.c' ? source : word));
  const { status, stderr } = spawnSync('clang', words, { cwd: folder, encoding: 'utf8' });
  assert.is(status, 0, stderr);
  const bytes = readFileSync(join(folder, 'reverse.wasm'));
  const packets = [samplePacket(0), samplePacket(1472)];
  for (const [index, outcome] of outcomesOf(bytes, packets).entries()) {
    const packet = Buffer.from(packets[index] ?? []);
    const part = (from: number, to: number) => packet.subarray(from, to);
    const wanted = Buffer.concat([
      ...[part(6, 12), part(0, 6), part(12, 26)],
      ...[part(30, 34), part(26, 30), part(36, 38), part(34, 36), part(38, 42)],
    ]);
    assert.is(headerOf(outcome), wanted.toString('hex'));
    assert.equal(outcome.outcome === 'send' && outcome.layers.flatMap(({ wrong }) => wrong), []);
  }
});

test('the C header has the structs of the description of shared memory', () => {
  const header = join(ROOT, 'test', 'workbench', 'filters', 'fantail.h');
  const checks = ['job', 'subscriber'].flatMap((name) =>
    structOf(name).fields.map((field) => {
      return `_Static_assert(__builtin_offsetof(struct ${name}, ${field.name}) == ${field.offset}, "${field.name}");`;
    }),
  );
  const { FILTER_ABI, SLOT_SIZE, HEADER_SIZE, STATE_SIZE, WINDOW_STATE } = limits;
  const numbers = { FANTAIL_ABI: FILTER_ABI, SLOT_SIZE, HEADER_SIZE, STATE_SIZE, WINDOW_STATE };
  for (const [name, value] of Object.entries(numbers))
    checks.push(`_Static_assert(${name} == ${value}, "${name}");`);
  const source = put('layout.c', `#include "${header}"\n${checks.join('\n')}\n`);
  const words = ['--target=wasm32', '-fsyntax-only', '-Wall', '-Wextra', '-Werror', source];
  const { status, stderr } = spawnSync('clang', words, { encoding: 'utf8' });
  assert.is(status, 0, stderr);
});

test('a filter written by hand passes the checker, and gives right headers', async () => {
  const bytes = wat(readFileSync(join(ROOT, 'test', 'workbench', 'filters', 'swap.wat'), 'utf8'));
  const packets = [samplePacket(0), samplePacket(700)];
  for (const outcome of outcomesOf(bytes, packets)) {
    assert.is(headerOf(outcome), '020000000101020000000001'); // of subscriber 1
    assert.equal(outcome.outcome === 'send' && outcome.layers.flatMap(({ wrong }) => wrong), []);
  }
});

test.run();
