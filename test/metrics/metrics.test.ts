/**
 * /metrics of a run, as Prometheus reads it, and the probes beside it.
 *
 * needs: a link
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, Program, run } from '../rig/program.js';
import { freePort, Replicator } from '../rig/replicator.js';
import { copyMode, feedAll, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import { prometheusFolder } from './prometheus.js';

const test = suite('metrics');
const COUNT = 500;
const TOKEN = 'metrics-token-of-32-characters-..';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

function ask(control: string, path: string, token?: string): Promise<Answer> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return new Promise((resolve, reject) => {
    get(`http://${control}${path}`, { headers }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers['content-type'] ?? '',
          body,
        }),
      );
    }).on('error', reject);
  });
}

/** The one value of that name and those labels in the text. */
function valueIn(text: string, sample: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${sample} `));
  assert.ok(line !== undefined, `${sample} is not in:\n${text}`);
  return Number(line.slice(sample.length));
}

const feed = (replicator: Replicator) => feedAll(replicator, { rate: 2000, count: COUNT });

networkTest(
  test,
  'promtool finds no fault in what a run tells, and it is what stats says',
  { queues: 1 },
  async (link) => {
    const promtool = join(prometheusFolder(), 'promtool');
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const [one, two] = subscribersOf(2);
      assert.ok(one !== undefined && two !== undefined);
      await replicator.subscribe([one, two]);
      await replicator.cli('pause', two.ip, String(two.port));
      await replicator.change({ op: 'remove', ip: '10.77.0.250', port: 1 });
      await replicator.ask({ op: 'pause', ip: '10.77.0.250', port: 1 }).catch(() => {});
      await feed(replicator);
      const { status, type, body } = await ask(replicator.control, '/metrics');
      assert.is(status, 200);
      assert.match(type, /^text\/plain; version=0\.0\.4/);
      // it says what it would name otherwise, and fails for it
      assert.is(run(promtool, ['check', 'metrics'], body).trim(), '');
      const { feed: counted } = await replicator.stats();
      assert.is(valueIn(body, 'fantail_feed_received_total{feed="main"}'), counted.received);
      const labels = `{ip="${one.ip}",port="${one.port}"}`;
      assert.is(valueIn(body, `fantail_subscriber_sent_total${labels}`), COUNT);
      assert.is(valueIn(body, 'fantail_subscribers{state="live"}'), 1);
      assert.is(valueIn(body, 'fantail_subscribers{state="paused"}'), 1);
      assert.is(valueIn(body, 'fantail_inside_seconds_count{worker="0"}'), COUNT);
      assert.is(valueIn(body, 'fantail_control_requests_total{op="remove",code="ok"}'), 1);
      assert.is(valueIn(body, 'fantail_control_requests_total{op="pause",code="NOT_FOUND"}'), 1);
      assert.ok(valueIn(body, 'fantail_filter_jobs_total{filter="rewrite",verdict="send"}') > 0);
    });
  },
);

networkTest(
  test,
  'a real Prometheus scrapes a run with a token, and has its counters',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
    const token = join(folder, 'token');
    writeFileSync(token, TOKEN, { mode: 0o600 });
    const all = join(folder, 'all');
    writeFileSync(all, `${TOKEN}all`, { mode: 0o600 });
    const tokens = ['--token-file', all, '--read-token-file', token];
    const replicator = await Replicator.start({ link, flags: [...copyMode('inline'), ...tokens] });
    try {
      await replicator.ask({ op: 'auth', token: TOKEN });
      assert.is((await ask(replicator.control, '/metrics')).status, 401);
      assert.is((await ask(replicator.control, '/metrics', TOKEN)).status, 200);
      await feed(replicator);
      const config = {
        global: { scrape_interval: '1s' },
        scrape_configs: [
          {
            job_name: 'fantail',
            authorization: { credentials_file: token },
            static_configs: [{ targets: [replicator.control] }],
          },
        ],
      };
      const file = join(folder, 'prometheus.yml');
      writeFileSync(file, JSON.stringify(config)); // JSON is YAML
      const at = `127.0.0.1:${await freePort()}`;
      const prometheus = new Program(join(prometheusFolder(), 'prometheus'), [
        ...[`--config.file=${file}`, `--storage.tsdb.path=${join(folder, 'data')}`],
        `--web.listen-address=${at}`,
      ]);
      try {
        const query = '/api/v1/query?query=fantail_feed_received_total';
        await eventually('it has scraped', async () => {
          const { body } = await ask(at, query).catch(() => ({ body: '' }));
          return body.includes(`"${COUNT}"`);
        });
      } finally {
        prometheus.close();
      }
      assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
    } finally {
      replicator.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

networkTest(
  test,
  'probes are answered without a token and without a word',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'probes-'));
    const token = join(folder, 'token');
    writeFileSync(token, TOKEN, { mode: 0o600 });
    const flags = [...copyMode('inline'), '--token-file', token];
    const replicator = await Replicator.start({ link, flags });
    try {
      for (const path of ['/healthz', '/readyz']) {
        const { status, body } = await ask(replicator.control, path);
        assert.equal([status, body], [200, ''], path);
        assert.is((await ask(replicator.control, path, 'wrong')).status, 401);
      }
      assert.is((await ask(replicator.control, '/metrics')).status, 401);
      assert.is((await ask(replicator.control, '/healthz2')).status, 401);
      assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
    } finally {
      replicator.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

test.run();
