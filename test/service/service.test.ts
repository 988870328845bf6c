/**
 * Goal: fantail runs as a service that may do next to nothing else, has started when it serves, is
 * restarted without a packet lost whether it was killed or hangs, and leaves nothing. Method: the
 * unit that it comes with, run by a systemd of the test's own; nothing of it is changed but where
 * program and configuration are.
 *
 * needs: a link
 * takes: 40 s
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Channel, openAsker } from '../rig/channel.js';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually, processesWith, ROOT, sleep } from '../rig/program.js';
import { networkTest, subscribersOf } from '../rig/scenario.js';
import { faultsOf, LISTEN_PORT, replicatedRoute, startFeed, startSink } from '../rig/wire.js';
import { Systemd } from './systemd.js';

const test = suite('service');
const UNIT = join(ROOT, 'tools', 'fantail@.service');
const NAME = 'fantail@rep0.service';
const CONTROL = '127.0.0.1:12345';
/** adm, as Debian and others number it; any would do. */
const GROUP_ID = 4;
const RATE = 2000;
const COUNT = 8000;
/** A feed that outlasts WatchdogSec= and the next start. */
const HUNG_SECONDS = 20;
/** What systemd calls OK ends there. */
const EXPOSURE_MAX = '50';

/** What the unit says why it is left: by the name of the setting. */
function reasons(): Set<string> {
  const left = readFileSync(UNIT, 'utf8').split('counts (name: why):')[1] ?? '';
  return new Set([...left.matchAll(/^# {3}(\S.*?): /gm)].map(([, name = '']) => name));
}

test('what systemd-analyze finds exposed is listed in the unit, with its reason', () => {
  const words = ['security', '--offline=true', '--no-pager', `--threshold=${EXPOSURE_MAX}`];
  const { status, stdout } = spawnSync('systemd-analyze', [...words, '--json=short', UNIT], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stdout);
  const rows = JSON.parse(stdout) as { name: string; exposure: string | null }[]; // its own format
  const exposed = rows.filter(({ exposure }) => Number(exposure ?? 0) > 0);
  assert.ok(rows.length > 50 && exposed.length > 5);
  assert.equal(exposed.map(({ name }) => name).sort(), [...reasons()].sort());
});

/**
 * The unit that fantail comes with, of split on rep0; `mark` is in the environment of all that it
 * starts. What has been said so far, and which lines of that are `ready`.
 */
function unitAsItComes(mark: string) {
  const here = [
    '[Service]',
    'EnvironmentFile=',
    'EnvironmentFile=/mnt/given/configuration/%i',
    `Environment=PATH=/mnt/bin:/usr/sbin:/usr/bin ${mark}`,
    `ExecStopPost=sh -c 'echo "ended by $SERVICE_RESULT: $EXIT_CODE, $EXIT_STATUS"'`,
    'StandardOutput=append:/mnt/given/out',
    'StandardError=append:/mnt/given/out',
  ];
  const systemd = new Systemd(
    {
      'fantail@.service': readFileSync(UNIT, 'utf8'),
      'fantail@.service.d/here.conf': `${here.join('\n')}\n`,
    },
    { rep0: `FANTAIL_WORDS=${REPLICATOR_IP} ${LISTEN_PORT} --mode copy --layout split\n` },
  );
  const out = join(systemd.folder, 'out');
  const told = () => `${existsSync(out) ? readFileSync(out, 'utf8') : ''}\n${systemd.told()}`;
  const readies = () => [...told().matchAll(/^ready .*$/gm)].map(([line]) => line);
  return { systemd, told, readies };
}

networkTest(
  test,
  'under all restrictions of its unit it replicates; killed, it is restarted and adopts; stopped, it leaves nothing',
  { queues: 1 },
  async (link) => {
    const mark = `FANTAIL_TEST=service${process.pid}`;
    const { systemd, told, readies } = unitAsItComes(mark);
    try {
      await systemd.boot(link.replicator);
      systemd.systemctl('start', NAME);
      assert.is(readies().length, 1, 'the start is complete when it serves');
      const subscribers = subscribersOf(3);
      const asker = await openAsker(CONTROL, link.replicator);
      await new Channel(asker).subscribe(subscribers).finally(() => asker.close());
      const route = replicatedRoute(link);
      const sink = await startSink(route, { subscribers, expect: COUNT });
      const feed = startFeed(route, { rate: RATE, count: COUNT });
      await sleep(1000);
      const path = processesWith(mark).filter(({ command }) =>
        /^fantail-tx|fantail-rx/.test(command),
      );
      assert.ok(path.length >= 2, 'fantail-rx and a worker at least');
      for (const { pid } of path)
        assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^CapEff:\s+0+$/m);
      assert.is(systemd.shown(NAME, 'NRestarts'), '0');
      systemd.systemctl('kill', '--signal=KILL', '--kill-who=main', NAME);
      await eventually('the next one is ready', () => readies().length === 2);
      assert.match(readies()[1] ?? '', / adopted=\d+$/);
      await feed.result();
      assert.equal(faultsOf(await sink.within(10_000), COUNT), [], link.drops().join());
      assert.is(systemd.shown(NAME, 'NRestarts'), '1');
      systemd.systemctl('stop', NAME);
      assert.is(systemd.shown(NAME, 'Result'), 'success');
      assert.equal(processesWith(mark), []);
      assert.is(link.xdpProgram(), null);
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- it said:\n${told()}`;
      throw error;
    } finally {
      systemd.close();
    }
  },
);

networkTest(
  test,
  'a supervisor that hangs is killed by the watchdog, without a core file, and the next adopts: not a packet is lost; its status says how it stands',
  { queues: 1 },
  async (link) => {
    const { systemd, told, readies } = unitAsItComes(`FANTAIL_TEST=hung${process.pid}`);
    const count = RATE * HUNG_SECONDS;
    try {
      await systemd.boot(link.replicator);
      systemd.systemctl('start', NAME);
      const subscribers = subscribersOf(3);
      const asker = await openAsker(CONTROL, link.replicator);
      await new Channel(asker).subscribe(subscribers).finally(() => asker.close());
      const standing = '1 feed, 3 subscribers, copy mode';
      await eventually('it is told', () => systemd.shown(NAME, 'StatusText') === standing);
      const first = systemd.shown(NAME, 'MainPID');
      const route = replicatedRoute(link);
      const sink = await startSink(route, { subscribers, expect: count });
      const feed = startFeed(route, { rate: RATE, count });
      systemd.systemctl('kill', '--signal=STOP', '--kill-who=main', NAME);
      await eventually('the next one is ready', () => readies().length === 2);
      assert.match(readies()[1] ?? '', / adopted=\d+$/);
      assert.not.equal(systemd.shown(NAME, 'MainPID'), first);
      assert.is(systemd.shown(NAME, 'NRestarts'), '1');
      // with a core file it would be `dumped`
      assert.match(told(), /^ended by watchdog: killed, KILL$/m);
      await feed.result();
      assert.equal(faultsOf(await sink.within(10_000), count), [], link.drops().join());
      assert.is(systemd.shown(NAME, 'StatusText'), standing);
      systemd.systemctl('stop', NAME);
      assert.is(systemd.shown(NAME, 'Result'), 'success');
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- it said:\n${told()}`;
      throw error;
    } finally {
      systemd.close();
    }
  },
);

networkTest(
  test,
  'as install-service writes it, it runs from a file: reloaded by systemctl and killed, without a packet lost; taken away, nothing is left',
  { queues: 1 },
  async (link) => {
    const mark = `FANTAIL_TEST=installed${process.pid}`;
    const here = [
      '[Service]',
      `Environment=${mark}`,
      'StandardOutput=append:/mnt/given/out',
      'StandardError=append:/mnt/given/out',
    ];
    const subscribers = subscribersOf(2);
    const lines = [
      ...['interface: rep0', `listen-ip: ${REPLICATOR_IP}`, `listen-port: ${LISTEN_PORT}`],
      ...['mode: copy', 'layout: split', 'subscribers:'],
      ...subscribers.map(({ ip, port }) => `  - { ip: ${ip}, port: ${port} }`),
    ];
    const dropIn = { 'fantail@.service.d/here.conf': `${here.join('\n')}\n` };
    const systemd = new Systemd(dropIn, { 'rep0.yaml': `${lines.join('\n')}\n` });
    chmodSync(systemd.folder, 0o755); // the unit has a user of its own
    const out = join(systemd.folder, 'out');
    const told = () => `${existsSync(out) ? readFileSync(out, 'utf8') : ''}\n${systemd.told()}`;
    const units = ['--folder', '/mnt/given/units'];
    const config = ['--config', '/mnt/given/configuration/rep0.yaml'];
    try {
      await systemd.boot(link.replicator);
      assert.match(
        systemd.fantail('install-service', ...units, ...config),
        /enable --now fantail@rep0$/m,
      );
      systemd.systemctl('daemon-reload');
      systemd.systemctl('start', NAME);
      assert.match(told(), /^ready .*/m);
      const asker = await openAsker(CONTROL, link.replicator);
      await new Channel(asker).subscribe(subscribers).finally(() => asker.close());
      const route = replicatedRoute(link);
      const sink = await startSink(route, { subscribers, expect: COUNT });
      const feed = startFeed(route, { rate: RATE, count: COUNT });
      const file = join(systemd.folder, 'configuration', 'rep0.yaml');
      writeFileSync(file, `${lines.join('\n')}\nmulticast-ttl: 2\norder: fixed\n`);
      systemd.systemctl('reload', NAME);
      const isDone = /multicast-ttl: 1 → 2: applied[\s\S]*order: rotate → fixed: refused: needs a/;
      await eventually('it is applied, and refused', () => isDone.test(told()));
      await eventually('it runs again', () => systemd.shown(NAME, 'ActiveState') === 'active');
      // what waits for a restart would be another data plane's
      writeFileSync(file, `${lines.join('\n')}\nmulticast-ttl: 2\n`);
      systemd.systemctl('kill', '--signal=KILL', '--kill-who=main', NAME);
      await eventually('the next one is ready', () => / adopted=\d+$/m.test(told()));
      await feed.result();
      assert.equal(faultsOf(await sink.within(10_000), COUNT), [], link.drops().join());
      systemd.systemctl('stop', NAME);
      assert.is(systemd.shown(NAME, 'Result'), 'success');
      assert.equal(processesWith(mark), []);
      assert.match(systemd.fantail('install-service', ...units, '--remove'), /^removed /);
      systemd.systemctl('daemon-reload');
      assert.match(systemd.systemctl('show', '-p', 'LoadState', NAME), /not-found|bad-setting/);
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- it said:\n${told()}`;
      throw error;
    } finally {
      systemd.close();
    }
  },
);

networkTest(
  test,
  'a token that its user may read by a group is read, though others may not',
  { queues: 1 },
  async (link) => {
    const here = [
      '[Service]',
      `SupplementaryGroups=${GROUP_ID}`,
      'StandardOutput=append:/mnt/given/out',
      'StandardError=append:/mnt/given/out',
    ];
    const lines = [
      ...['interface: rep0', `listen-ip: ${REPLICATOR_IP}`, `listen-port: ${LISTEN_PORT}`],
      ...['mode: copy', 'token-file: token'],
    ];
    const dropIn = { 'fantail@.service.d/here.conf': `${here.join('\n')}\n` };
    const files = { 'rep0.yaml': `${lines.join('\n')}\n`, token: 'a-token\n' };
    const systemd = new Systemd(dropIn, files);
    chmodSync(systemd.folder, 0o755);
    const token = join(systemd.folder, 'configuration', 'token');
    chownSync(token, 0, GROUP_ID);
    chmodSync(token, 0o640);
    const out = join(systemd.folder, 'out');
    const told = () => (existsSync(out) ? readFileSync(out, 'utf8') : '');
    const config = ['--config', '/mnt/given/configuration/rep0.yaml'];
    try {
      await systemd.boot(link.replicator);
      systemd.fantail('install-service', '--folder', '/mnt/given/units', ...config);
      systemd.systemctl('daemon-reload');
      systemd.systemctl('start', NAME);
      assert.match(told(), /^ready /m);
      systemd.systemctl('stop', NAME);
      assert.is(systemd.shown(NAME, 'Result'), 'success');
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- it said:\n${told()}${systemd.told()}`;
      throw error;
    } finally {
      systemd.close();
    }
  },
);

test.run();
