/**
 * Goal: doctor as users run it: its status, what it looks at, what it says where it may not look,
 * and that `up` says the same.
 *
 * needs: a link
 * takes: 25 s
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Report, Row } from '../../src/doctor/report.js';
import { HOSTS, type Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, type Program, ROOT, run } from '../rig/program.js';
import { fantail, Replicator, startUp } from '../rig/replicator.js';
import { networkTest } from '../rig/scenario.js';

const test = suite('doctor');

const FEED = ['rep0', REPLICATOR_IP, '9000'];

const reportOf = (program: Program) => JSON.parse(program.stdout) as Report;
const rowsOf = (program: Program) =>
  reportOf(program).sections.flatMap(({ rows }): readonly Row[] => rows);
const namesOf = (program: Program) => rowsOf(program).flatMap(({ name }) => name ?? []);

/** In the replicator's namespace. */
const doctor = (link: Link, ...words: string[]) =>
  fantail(['doctor', ...words, '--json'], link.replicator);

networkTest(
  test,
  'status 0 where nothing must be mended, and 1 where something must be',
  { queues: 1 },
  async (link) => {
    const well = await doctor(link, ...FEED);
    assert.is(well.end?.status, 0, well.told());
    assert.is(reportOf(well).ok, true);
    assert.equal(namesOf(well), []);
    link.ip('replicator', 'link', 'set', 'rep0', 'mtu', '9000');
    const ill = await doctor(link, ...FEED);
    assert.is(ill.end?.status, 1, ill.told());
    assert.equal(namesOf(ill), ['mtu_frame']);
    const text = await fantail(['doctor', ...FEED], link.replicator);
    assert.is(text.end?.status, 1);
    assert.match(text.stdout, /✗ MTU .*9000.*\n +why: .*\n +mend: ip link set dev rep0 mtu 3498\n/);
    assert.is(text.stderr, '');
  },
);

networkTest(
  test,
  'of another namespace its lines go into that one',
  { queues: 1 },
  async (link) => {
    link.ip('replicator', 'link', 'set', 'rep0', 'down');
    link.ip('replicator', 'link', 'set', 'rep0', 'arp', 'off');
    await fantail(['doctor', ...FEED], link.replicator);
    const words = ['doctor', ...FEED, '--netns', link.replicator, '--json'];
    const ill = await fantail(words);
    const lines = rowsOf(ill).flatMap(({ cures }) => cures);
    assert.equal(lines, [
      `ip -n ${link.replicator} link set dev rep0 up`,
      `ip -n ${link.replicator} link set dev rep0 arp on`,
    ]);
    for (const line of lines) run('sh', ['-c', line]);
    assert.equal(namesOf(await fantail(words)), []);
    const missing = await fantail(['doctor', 'rep0', '--netns', 'ft-nowhere']);
    assert.is(missing.end?.status, 1);
    assert.match(missing.stderr, /ft-nowhere/);
  },
);

networkTest(
  test,
  'without an interface it looks at all that are up and have an address, and names the others',
  { queues: 1 },
  async (link) => {
    link.ip('replicator', 'link', 'add', 'odd0', 'type', 'veth', 'peer', 'odd1');
    const all = reportOf(await doctor(link));
    assert.equal(
      all.sections.map((section) => section.interface),
      [null, 'rep0'],
    );
    assert.equal(
      all.unseen.filter((what) => /^odd/.test(what)),
      ['odd1', 'odd0'].map((name) => `${name}, which is down or has no address`),
    );
    const missing = await fantail(['doctor', 'eth77'], link.replicator);
    assert.is(missing.end?.status, 1);
    assert.match(missing.stderr, /^fantail doctor: there is no interface eth77; see: ip link$/m);
    const machine = reportOf(await doctor(link, '-'));
    assert.is(machine.sections.length, 1);
  },
);

networkTest(
  test,
  'a launcher that runs is asked for its feed, its queues and its subscribers',
  { queues: 2 },
  async (link) => {
    const flags = ['--mode', 'copy', '--queues', '0'];
    const replicator = await Replicator.start({ link, inside: true, flags });
    try {
      const [ip = ''] = HOSTS;
      await replicator.add({ ip, port: 9101 });
      assert.equal(
        rowsOf(await doctor(link, 'rep0')).filter(({ topic }) => topic === 'stamps'),
        [],
        'nobody looks at the clock',
      );
      await replicator.cli('filter', 'load', 'stamp', 'build/filters/stamp.wasm');
      await replicator.cli('filter', 'use', 'stamp', ip, '9101', '--param', 'offset=0');
      await eventually('it is live', async () =>
        (await replicator.list()).every(({ state }) => state === 'live'),
      );
      const found = await doctor(link, 'rep0');
      const stamps = rowsOf(found).filter(({ topic }) => topic === 'stamps');
      assert.is(stamps.length, 1, 'it has the time of day, so the clock matters');
      const others = namesOf(found).filter((name) => name !== 'clock_kept');
      assert.equal(others, ['queue_unserved'], found.told());
      const what = (topic: string) => rowsOf(found).find((row) => row.topic === topic)?.what;
      assert.is(what('subscribers'), '1 subscriber, a way to each');
      assert.is(what('XDP'), "fantail's program");
      assert.is(what('port'), "fantail's");
      assert.match(what('queues') ?? '', /^queue 1 of rep0 is not served here: /);
    } finally {
      replicator.close();
    }
    const token = join(mkdtempSync(join(tmpdir(), 'fantail-doctor-')), 'token');
    writeFileSync(token, 'a-token-that-nobody-guesses\n', { mode: 0o600 });
    const guarded = await Replicator.start({
      link,
      inside: true,
      flags: ['--mode', 'copy', '--token-file', token],
    });
    try {
      const blind = reportOf(await doctor(link, 'rep0'));
      assert.ok(blind.unseen.some((what) => /^subscribers: .*--token-file F$/.test(what)));
      const seen = await doctor(link, 'rep0', '--token-file', token);
      assert.equal(reportOf(seen).unseen, []);
    } finally {
      guarded.close();
      rmSync(dirname(token), { recursive: true });
    }
    const gone = await fantail(
      ['doctor', 'rep0', '--control', 'ws://127.0.0.1:9'],
      link.replicator,
    );
    assert.is(gone.end?.status, 1, 'who names one wants that');
    assert.match(gone.stderr, /127\.0\.0\.1:9/);
  },
);

networkTest(
  test,
  "netfilter's rules do not hold for what AF_XDP takes, and are named",
  { queues: 1 },
  async (link) => {
    const chain = ['netns', 'exec', link.replicator, 'native/build/wire-chain', 'filter', 'input'];
    run('ip', chain);
    const found = await doctor(link, ...FEED);
    assert.is(found.end?.status, 0, 'nothing must be mended');
    const [row] = rowsOf(found).filter(({ name }) => name === 'netfilter');
    assert.match(row?.what ?? '', /^netfilter looks at what comes in: filter input$/);
    assert.ok(row?.instead, 'no line mends it, and that is said');
    assert.equal(namesOf(await doctor(link, ...FEED, '--mode', 'socket')), [], 'they hold there');
  },
);

networkTest(test, 'without rights it says what it could not see', { queues: 1 }, async (link) => {
  const user = 'setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all';
  const script = `mount --bind ${ROOT} /mnt && cd /mnt && exec ${user} ${process.execPath} build/programs/main.js doctor ${FEED.join(' ')}`;
  const { stdout, status } = spawnSync(
    'ip',
    ['netns', 'exec', link.replicator, 'unshare', '-m', 'sh', '-c', script],
    { encoding: 'utf8', cwd: join(ROOT) },
  );
  assert.is(status, 0, stdout);
  assert.match(stdout, /! rights +AF_XDP takes CAP_NET_RAW, CAP_NET_ADMIN/);
  assert.match(stdout, /✓ link +rep0 is up/);
  assert.match(stdout, /^not seen: rules of netfilter \(it takes CAP_NET_ADMIN/m);
  assert.match(stdout, /^not seen: other users' processes \(it takes root\)$/m);
});

/** What `up` refuses, as doctor says it. */
const REFUSED: readonly [words: string[], ip: string[]][] = [
  [[...FEED, '--queues', '1'], []],
  [[...FEED, '--workers', '2'], []],
  [[...FEED, '--cpus', '1000'], []],
  [FEED, ['link', 'set', 'rep0', 'mtu', '9000']],
  [FEED, ['addr', 'flush', 'dev', 'rep0']],
  [['rep0', '10.78.0.1', '9000'], []],
  [FEED, 'link set dev rep0 xdpdrv obj native/build/replicate.bpf.o sec xdp'.split(' ')],
];

networkTest(test, 'up refuses in the words of doctor', { queues: 1 }, async (link) => {
  for (const [words, ip] of REFUSED) {
    if (ip.length > 0) link.ip('replicator', ...ip);
    const found = await doctor(link, ...words, '--mode', 'copy');
    const [row] = rowsOf(found).filter(({ level }) => level === 'must');
    assert.ok(row, words.join(' '));
    const [interfaceName, listenIp, listenPort, ...flags] = words;
    const { program } = await startUp({
      link,
      interface: interfaceName ?? '',
      listenIp: listenIp ?? '',
      listenPort: listenPort ?? '',
      inside: true,
      flags: [...flags, '--mode', 'copy'],
    });
    await program.wait();
    assert.is(program.end?.status, 1, program.told());
    assert.ok(program.stderr.includes(row.what), `${row.what}\n${program.told()}`);
    const [line = ''] = row.cures;
    const cure = / up /.test(line) ? line.split(' ').slice(-2).join(' ') : line;
    if (cure !== '') assert.ok(program.stderr.includes(cure), `${cure}\n${program.told()}`);
    if (ip[0] === 'link' && ip.includes('mtu'))
      link.ip('replicator', 'link', 'set', 'rep0', 'mtu', '1500');
    if (ip[0] === 'addr')
      link.ip('replicator', 'addr', 'add', `${REPLICATOR_IP}/24`, 'dev', 'rep0');
  }
});

test.run();
