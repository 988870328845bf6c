/**
 * A subscriber that is a multicast group: who has joined it gets each copy once, with the group's
 * MAC and a time to live of its own, and nothing is asked of neighbours or routes.
 *
 * needs: a link
 * takes: 40 s
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GROUP, type Link } from '../rig/link.js';
import type { Program } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, subscribersOf, withReplicator } from '../rig/scenario.js';
import { faultsOf, LISTEN_PORT, replicatedRoute, startFeed, startSink } from '../rig/wire.js';

const test = suite('multicast out');
const RATE = 4000;
const COUNT = 1000;
const TO = { ...GROUP, port: 9201 } as const;
const ALLOWED = ['--allow', '10.77.0.0/24', '--allow', `${GROUP.ip}/32`];

/** Counts what comes to a port of that group's, joined on net0 or not, until it is told to stop. */
const LISTENER = `
  const [ip, port, joins, by = '10.77.0.2'] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket({ type: 'udp4', reuseAddr: true });
  let count = 0;
  socket.on('message', () => count++);
  socket.bind(Number(port), ip, () => {
    if (joins === 'yes') socket.addMembership(ip, by);
    console.log('ready');
  });
  process.on('SIGTERM', () => { console.log('received ' + count); process.exit(0); });
`;

async function listen(link: Link, joins: 'yes' | 'no'): Promise<Program> {
  const words = ['-e', LISTENER, GROUP.ip, String(TO.port), joins];
  const program = link.start('net', process.execPath, words);
  await program.line(/^ready$/m);
  return program;
}

async function heard(program: Program): Promise<number> {
  program.signal('SIGTERM');
  const [, count] = await program.line(/^received (\d+)$/m);
  await program.wait();
  return Number(count);
}

/** The feed reaches a host and the group, each once and whole. */
async function assertServed(replicator: Replicator, groupTtl?: number): Promise<void> {
  const route = replicatedRoute(replicator.link);
  const ttl = groupTtl === undefined ? {} : { groupTtl };
  const subscribers = [...subscribersOf(1), TO];
  const sink = await startSink(route, { subscribers, expect: COUNT, ...ttl });
  await startFeed(route, { rate: RATE, count: COUNT }).result();
  const faults = faultsOf(await sink.within(10_000), COUNT);
  assert.equal(faults, [], replicator.link.drops().join());
}

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `who has joined a group that subscribes gets each copy once, with a TTL of 1: ${name}`,
    { queues: 1 },
    async (link) => {
      const allowed = [...flags, ...ALLOWED];
      await withReplicator({ link, flags: allowed }, async (replicator) => {
        await replicator.subscribe([...subscribersOf(1), TO]);
        const [, row] = await replicator.list();
        assert.equal([row?.ip, row?.state], [GROUP.ip, 'live']);
        const member = await listen(link, 'yes');
        await assertServed(replicator);
        // the sink has counted each; this one's buffer may be too small on a machine that is busy
        const count = await heard(member);
        assert.ok(count > 0 && count <= COUNT, `it has heard ${count} of ${COUNT}`);
        const stranger = await listen(link, 'no');
        await assertServed(replicator);
        assert.is(await heard(stranger), 0, 'who has not joined it hears nothing');
        await replicator.check();
      });
      await withReplicator(
        { link, flags: [...allowed, '--multicast-ttl', '5'] },
        async (replicator) => {
          await replicator.subscribe([...subscribersOf(1), TO]);
          await assertServed(replicator, 5);
        },
      );
    },
  );

/** A feed of one packet a millisecond by the loopback, from the address of that. */
const LOCAL_FEED = `
  const [ip, port, count] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket('udp4');
  socket.bind(0, '127.0.0.1', () => {
    socket.setMulticastInterface('127.0.0.1');
    let left = Number(count);
    const timer = setInterval(() => {
      socket.send('hello', Number(port), ip);
      if (--left > 0) return;
      clearInterval(timer);
      setTimeout(() => socket.close(), 100);
    }, 1);
  });
`;

for (const listenIp of ['127.0.0.1', '239.205.9.9'])
  networkTest(
    test,
    `copies to a group stay on the loopback if fantail does, whatever the routes say: a feed to ${listenIp}`,
    { queues: 1 },
    async (link) => {
      // by which they would leave the host
      link.ip('replicator', 'route', 'add', '239.0.0.0/8', 'dev', 'rep0');
      const allowed = ['--allow', '127.0.0.0/8', '--allow', `${GROUP.ip}/32`];
      const flags = ['--mode', 'socket', ...allowed];
      const options = { link, flags, interface: 'lo', listenIp, inside: true };
      await withReplicator(options, async (replicator) => {
        await replicator.subscribe([TO]);
        const outside = await listen(link, 'yes');
        const words = ['-e', LISTENER, GROUP.ip, String(TO.port), 'yes', '127.0.0.1'];
        const inside = link.start('replicator', process.execPath, words);
        await inside.line(/^ready$/m);
        const feed = ['-e', LOCAL_FEED, listenIp, String(LISTEN_PORT), String(COUNT)];
        await link.start('replicator', process.execPath, feed).wait();
        await replicator.check();
        assert.is((await replicator.stats()).feed.received, COUNT);
        assert.equal([await heard(inside), await heard(outside)], [COUNT, 0]);
      });
    },
  );

networkTest(
  test,
  'a group is refused until it is allowed by the words of the refusal, and a feed is never one',
  { queues: 1 },
  async (link) => {
    let words = '';
    await withReplicator({ link, flags: copyMode('inline'), inside: true }, async (replicator) => {
      await replicator.wscat(`add ${TO.ip} ${TO.port}`, /error NOT_ALLOWED .* is a group, which/);
      const refused = await replicator.ask({ op: 'add', ip: TO.ip, port: TO.port }).catch(String);
      words = /--allow \d.*\/32/.exec(String(refused))?.[0] ?? '';
    });
    const flags = [...copyMode('inline'), ...words.split(' ')];
    await withReplicator({ link, flags, inside: true }, async (replicator) => {
      const says = (line: string, answer: RegExp) => replicator.wscat(line, answer);
      await says(`add ${TO.ip} ${TO.port}`, /ok .* added/);
      await says(`feed add b ${TO.ip}:${TO.port}`, /error NOT_ALLOWED .*is a subscriber/);
      await says(`feed add b ${TO.ip}:${LISTEN_PORT}`, /ok feed b added/);
      await says(`add ${TO.ip} ${LISTEN_PORT}`, /error NOT_ALLOWED .*is the feed b itself/);
      await says('add 224.0.0.1 9000', /error NOT_ALLOWED .*RFC 5771/);
      await says('list', new RegExp(`${TO.ip} ${TO.port} live`));
    });
  },
);

networkTest(
  test,
  'a group that subscribes is served on by the next supervisor, and kept in the state file',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'group-'));
    const file = join(folder, 'state');
    const flags = [...copyMode('inline'), ...ALLOWED, '--state', file];
    const first = await Replicator.start({ link, flags });
    await first.subscribe([...subscribersOf(1), TO]);
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    await withReplicator({ link, flags: [...flags, '--multicast-ttl', '9'] }, async (second) => {
      await assertServed(second, 9);
      assert.match(readFileSync(file, 'utf8'), new RegExp(GROUP.ip));
    });
    first.close();
    await withReplicator({ link, flags }, (third) => assertServed(third));
    rmSync(folder, { recursive: true });
  },
);

test.run();
