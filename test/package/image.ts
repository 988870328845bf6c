/**
 * Goal: the image that the Dockerfile makes replicates in copy mode and in bulk with the rights
 * that the page names and no others, says which one it lacks, ends as a container should, and its
 * health is its own. Method: podman on a veth link of the test's, whose namespace is the host of
 * the containers.
 *
 * Run by main.ts.
 */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { version } from '../../src/domain/installation.js';
import type { Link } from '../rig/link.js';
import { eventually, lackForNetwork, type Process, processesWith } from '../rig/program.js';
import { Replicator, startUp, type UpOptions } from '../rig/replicator.js';
import {
  assertLossless,
  copyMode,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import { Engine, IMAGE, lackForImages } from './engine.js';
import { figure, seconds } from './figures.js';

const test = suite('the image');
/** To the end of `docker stop`, before it kills. */
const STOP_MS_MAX = 10_000;
const LINK = { queues: 1, netGro: true } as const;
/** native/host/privileges.hpp. */
const USERS = ['65521', '65522'];

let engine: Engine;
test.before(() => {
  engine = new Engine();
  const start = performance.now();
  try {
    engine.build();
  } catch (error) {
    console.log(error); // which uvu does not
    throw error;
  }
  seconds('build of the image', (performance.now() - start) / 1000);
});
test.after(() => engine.close());

let containers = 0;
interface Rights {
  readonly less?: string;
  readonly more?: readonly string[];
}

/** `up` in a container with the rights of the page, or one less, or more. */
function inside(link: Link, { less, more = [] }: Rights = {}) {
  const name = `fantail-${process.pid}-${containers++}`;
  const elsewhere: UpOptions['elsewhere'] = (words, mark) =>
    engine.words(
      ...[
        'run',
        `--name=${name}`,
        `--env=${mark}`,
        ...engine.flags(less),
        ...more,
        IMAGE,
        ...words,
      ],
    );
  return { name, options: { link, inside: true, elsewhere } as const };
}

const dataPath = (replicator: Replicator): Process[] =>
  [...replicator.processes()].filter(({ command }) => /^(?:\S*\/)?fantail-[rt]x\b/.test(command));

/** Of /proc/PID/status. */
function statusOf({ pid }: Process): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s+/) as [string, string]));
}

test('it has fantail, a Node and libraries, and nothing that compiles', () => {
  const told = engine.podman('run', ...engine.flags(), IMAGE, '--version');
  assert.is(told, `${version}\n`);
  const inspect = (format: string) =>
    engine.podman('image', 'inspect', '--format', format, IMAGE).trim();
  const megabytes = (Number(inspect('{{.Size}}')) / 1e6).toFixed(0);
  figure('the image, MB', megabytes);
  figure(
    'its Node',
    engine.podman('run', ...engine.flags(), '--entrypoint=node', IMAGE, '--version').trim(),
  );
  assert.is(inspect('{{.Config.StopSignal}}'), 'SIGTERM');
  const look = [
    '-c',
    '! command -v g++ && ! command -v clang && ! command -v make && ! command -v npm',
  ];
  engine.podman('run', ...engine.flags(), '--entrypoint=sh', IMAGE, ...look);
});

networkTest(
  test,
  'with the rights of the page it replicates in copy mode; what handles packets has none of them',
  LINK,
  async (link) => {
    const { name, options } = inside(link);
    await withReplicator({ ...options, flags: copyMode('split') }, async (replicator) => {
      const subscribers = subscribersOf(3);
      await replicator.subscribe(subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: 2000, count: 4000 });
      await assertLossless(replicator, sunk);
      const path = dataPath(replicator);
      assert.is(path.length, 2, replicator.told());
      for (const one of path) {
        const { CapEff, CapPrm, Uid = '' } = statusOf(one);
        assert.match(`${CapEff} ${CapPrm}`, /^0+ 0+$/);
        assert.ok(USERS.includes(Uid.split('\t')[0] ?? ''), Uid);
      }
      // as the engine would
      const image = engine.podman(
        'image',
        'inspect',
        '--format',
        '{{json .Config.Healthcheck.Test}}',
        IMAGE,
      );
      const [kind, ...health] = JSON.parse(image) as string[]; // of Docker's format
      assert.is(kind, 'CMD');
      engine.podman('exec', name, ...health);
      const rows = replicator.processes().map(statusOf);
      const resident = rows.reduce((sum, { VmRSS = '0' }) => sum + Number.parseInt(VmRSS, 10), 0);
      figure('resident, of all processes, MiB', (resident / 1024).toFixed(0));
    });
  },
);

networkTest(test, 'with PERFMON beside them it sends in bulk', LINK, async (link) => {
  const { options } = inside(link, { more: ['--cap-add=PERFMON'] });
  const flags = copyMode('inline', '--transmit', 'bulk', '--cpus', '0');
  await withReplicator({ ...options, flags }, async (replicator) => {
    const subscribers = subscribersOf(16);
    await replicator.subscribe(subscribers);
    await assertLossless(
      replicator,
      await transfer(replicator, { subscribers, rate: 2000, count: 2000 }),
    );
    assert.is((await replicator.stats()).workers[0]?.transmit.path, 'bulk');
  });
});

networkTest(test, 'without PERFMON bulk is refused, and says what it takes', LINK, async (link) => {
  const { options } = inside(link);
  const { program } = await startUp({
    ...options,
    flags: copyMode('inline', '--transmit', 'bulk'),
  });
  assert.is((await program.wait()).status, 1);
  assert.match(program.stderr, /it takes CAP_PERFMON/);
});

for (const less of ['NET_RAW', 'NET_ADMIN', 'BPF', 'IPC_LOCK'])
  networkTest(
    test,
    `without ${less} it runs in socket mode and says that this one is missing; a named mode is refused`,
    LINK,
    async (link) => {
      const auto = inside(link, { less });
      await withReplicator({ ...auto.options }, async (replicator) => {
        const { mode, fallbacks } = await replicator.stats();
        assert.is(mode, 'socket');
        assert.match(JSON.stringify(fallbacks), new RegExp(`AF_XDP takes CAP_${less}\\b`));
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        await assertLossless(
          replicator,
          await transfer(replicator, { subscribers, rate: 500, count: 500 }),
        );
      });
      const named = inside(link, { less });
      const { program } = await startUp({ ...named.options, flags: copyMode('inline') });
      assert.is((await program.wait()).status, 1);
      assert.match(program.stderr, new RegExp(`AF_XDP takes CAP_${less}\\b`));
    },
  );

for (const less of ['', 'SETUID', 'KILL'])
  networkTest(
    test,
    less === ''
      ? 'a worker that is stopped is killed and replaced'
      : `also without ${less}, where all processes stay the same user`,
    LINK,
    async (link) => {
      const { options } = inside(link, { less });
      await withReplicator({ ...options, flags: copyMode('inline') }, async (replicator) => {
        const [worker] = dataPath(replicator).filter(({ command }) =>
          command.startsWith('fantail-tx'),
        );
        assert.ok(worker !== undefined);
        const { Uid = '', CapEff = '' } = statusOf(worker);
        assert.match(CapEff, /^0+$/);
        assert.is(Uid.split('\t')[0], less === '' ? '65522' : '0');
        process.kill(worker.pid, 'SIGSTOP');
        await eventually('it is replaced', async () => {
          const [now] = (await replicator.stats()).workers;
          return (now?.restarts ?? 0) > 0;
        });
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        await assertLossless(
          replicator,
          await transfer(replicator, { subscribers, rate: 500, count: 500 }),
        );
        assert.not.ok(
          dataPath(replicator).some(({ pid }) => pid === worker.pid),
          'and it is gone',
        );
      });
    },
  );

/** One whose end is what is tried; nothing of it is left whatever comes of that. */
async function whileIn(
  options: UpOptions,
  work: (replicator: Replicator) => Promise<void>,
): Promise<void> {
  const replicator = await Replicator.start({ ...options, flags: copyMode('split') });
  try {
    await work(replicator);
  } finally {
    replicator.close();
  }
}

networkTest(
  test,
  'stop ends it in order; when its first process is killed all is gone with it, XDP too',
  LINK,
  async (link) => {
    const stopped = inside(link);
    await whileIn(stopped.options, async (replicator) => {
      const start = performance.now();
      engine.podman('stop', '--time', String(STOP_MS_MAX / 1000), stopped.name);
      assert.equal(await replicator.program.wait(), { status: 0, signal: null }, replicator.told());
      const took = performance.now() - start;
      assert.ok(took < STOP_MS_MAX, 'it was not killed');
      seconds('stop', took / 1000);
      assert.equal(await replicator.residue(), []);
    });
    await whileIn(inside(link).options, async (replicator) => {
      const init = processesWith(replicator.mark).find(({ command }) => command.startsWith('node'));
      assert.ok(init !== undefined);
      process.kill(init.pid, 'SIGKILL');
      await replicator.program.wait();
      assert.equal(await replicator.residue(), [], 'no data path that outlives it');
    });
    assert.is(link.xdpProgram(), null);
  },
);

const lack = lackForNetwork() ?? lackForImages();
if (lack === null) test.run();
else console.log(`skip: ${lack}`);
