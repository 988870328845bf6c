/**
 * The dashboard's page as a browser gets it: to whom it is served, and by which headers it is kept
 * to itself.
 *
 * needs: a link
 * takes: 30 s
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Control, type ControlOptions, startControl } from '../../src/control/server.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually, ROOT, run } from '../rig/program.js';
import { lackForBrowser, startBrowser, Tab } from './browser.js';
import { isConnected } from './scene.js';

const test = suite('page of the dashboard');
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
const TOKENS = { all: 'a-token-of-32-characters-for-test', read: null };

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

function ask(
  { port }: Control,
  headers: Readonly<Record<string, string>>,
  method = 'GET',
  path = '/',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, headers, method, path }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    asked.on('error', reject);
    asked.end();
  });
}

async function withControl(
  options: Partial<ControlOptions>,
  work: (control: Control) => Promise<void>,
): Promise<void> {
  const replicator = new MemoryReplicator();
  const base = { address: '127.0.0.1', port: 0, tokens: null, replicator };
  const control = await startControl({ ...base, ...options });
  try {
    await work(control);
  } finally {
    await control.close();
  }
}

const isPage = ({ status, headers }: Answer) =>
  status === 200 && headers['content-type'] === 'text/html; charset=utf-8';

test('a browser gets the page, also without a token; who asks for anything gets the line of before', async () => {
  for (const tokens of [null, TOKENS])
    await withControl({ tokens }, async (control) => {
      const { body, ...answer } = await ask(control, { Accept: BROWSER });
      assert.ok(isPage({ ...answer, body }), JSON.stringify(answer));
      assert.equal(body, readFileSync(join(ROOT, 'build/dashboard/page.html')));
      for (const Accept of ['*/*', 'text/plain', 'text/htmlx', '']) {
        const { status, headers } = await ask(control, { Accept });
        assert.is(status, tokens === null ? 200 : 401, Accept);
        assert.match(headers['content-type'] ?? '', /^text\/plain/);
      }
      assert.is((await ask(control, { Accept: BROWSER }, 'GET', '/x')).status, tokens ? 401 : 404);
      assert.is((await ask(control, { Accept: BROWSER }, 'GET', '/?x')).status, tokens ? 401 : 404);
    });
});

test('the rules of the gate hold for it: Host, Origin, a wrong token, and what only reads', async () => {
  await withControl({ tokens: TOKENS }, async (control) => {
    const refused = async (headers: Record<string, string>, method = 'GET') => {
      const {
        status,
        headers: told,
        body,
      } = await ask(control, { Accept: BROWSER, ...headers }, method);
      assert.not.ok(String(body).includes('<html'), JSON.stringify(headers));
      return [status, told.allow];
    };
    assert.equal(await refused({ Host: 'rebound.example' }), [403, undefined]);
    assert.equal(await refused({ Origin: 'http://evil.example' }), [403, undefined]);
    assert.equal(await refused({ Authorization: 'Bearer x' }), [401, undefined]);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
      assert.equal(await refused({}, method), [405, 'GET, HEAD'], method);
  });
});

test('HEAD has the headers of GET and no body; the same page again is not sent again', async () => {
  await withControl({}, async (control) => {
    const whole = await ask(control, { Accept: BROWSER });
    const head = await ask(control, { Accept: BROWSER }, 'HEAD');
    assert.is(head.status, 200);
    assert.is(head.body.length, 0);
    for (const name of ['etag', 'content-length', 'content-type', 'content-security-policy'])
      assert.is(head.headers[name], whole.headers[name], name);
    assert.is(whole.headers['content-length'], String(whole.body.length));
    assert.is(whole.headers['cache-control'], 'no-cache', 'asked for each time');
    assert.match(whole.headers.vary ?? '', /Accept/);
    const { etag = '' } = whole.headers;
    const again = await ask(control, { Accept: BROWSER, 'If-None-Match': etag });
    assert.equal([again.status, again.body.length], [304, 0]);
    const other = await ask(control, { Accept: BROWSER, 'If-None-Match': '"another"' });
    assert.ok(isPage(other));
    const small = await ask(control, { Accept: BROWSER, 'Accept-Encoding': 'gzip, br' });
    assert.is(small.headers['content-encoding'], 'gzip');
    assert.equal(gunzipSync(small.body), whole.body);
  });
});

test('its policy lets in its own script and style, by their hashes, its own socket, and nothing else', async () => {
  await withControl({}, async (control) => {
    const { headers, body } = await ask(control, { Accept: BROWSER });
    const policy = new Map(
      String(headers['content-security-policy'])
        .split('; ')
        .map((part) => {
          const [name = '', ...sources] = part.split(' ');
          return [name, sources.join(' ')];
        }),
    );
    const hashOf = (element: string) => {
      const inside =
        new RegExp(`<${element}>([\\s\\S]*?)</${element}>`).exec(String(body))?.[1] ?? '';
      assert.ok(inside.length > 1000, element);
      return `'sha256-${createHash('sha256').update(inside).digest('base64')}'`;
    };
    assert.equal(Object.fromEntries(policy), {
      'default-src': "'none'",
      'script-src': hashOf('script'),
      'style-src': hashOf('style'),
      'connect-src': `'self' ws://127.0.0.1:${control.port}`,
      'img-src': 'data:',
      'base-uri': "'none'",
      'form-action': "'none'",
      'frame-ancestors': "'none'",
      'require-trusted-types-for': "'script'",
      'trusted-types': "'none'",
    });
    assert.is(headers['x-content-type-options'], 'nosniff');
    assert.is(headers['x-frame-options'], 'DENY');
    assert.is(headers['referrer-policy'], 'no-referrer');
    assert.is(headers['cross-origin-opener-policy'], 'same-origin');
    assert.is(headers['cross-origin-resource-policy'], 'same-origin');
    assert.is(headers['set-cookie'], undefined);
  });
});

test('a page that cannot be read is told, and ends nothing; one that changes later is served as it was', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
  try {
    const faults: unknown[] = [];
    const onError = (thrown: unknown) => faults.push(thrown);
    await withControl({ pageFile: folder, onError }, async (control) => {
      const { status, body } = await ask(control, { Accept: BROWSER });
      assert.equal([status, /cannot be read/.test(String(body))], [404, true]);
      assert.match(String(faults), /EISDIR/);
      assert.is((await ask(control, {})).status, 200, 'the port goes on');
    });
    const pageFile = join(folder, 'page.html');
    await withControl({ pageFile }, async (control) => {
      const { status, body } = await ask(control, { Accept: BROWSER });
      assert.equal([status, /not built: npm run build/.test(String(body))], [404, true]);
    });
    writeFileSync(pageFile, '<html>of this build</html>');
    await withControl({ pageFile }, async (control) => {
      writeFileSync(pageFile, '<html>of the next</html>');
      assert.is(
        String((await ask(control, { Accept: BROWSER })).body),
        '<html>of this build</html>',
      );
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a client that asks for the page and never reads it does not keep its place', async () => {
  let held: Socket | undefined;
  const onHttp = ({ socket }: IncomingMessage) => {
    held = socket; // the server's end
    return false;
  };
  await withControl({ onHttp }, async ({ port }) => {
    const client = connect({ host: '127.0.0.1', port });
    client.on('error', () => {});
    client.pause();
    const one = (accept: string) => `GET / HTTP/1.1\r\nHost: a\r\nAccept: ${accept}\r\n\r\n`;
    // more pages than the kernel keeps for both ends
    client.write(
      `${one('*/*')}${one(BROWSER).repeat(60)}`.replaceAll('Host: a', 'Host: 127.0.0.1'),
    );
    await eventually('it waits', () => (held?.writableLength ?? 0) > 0);
    await eventually('it is let go', () => held?.destroyed === true);
    client.destroy();
  });
});

test('nothing in it names another place', () => {
  const page = readFileSync(join(ROOT, 'build/dashboard/page.html'), 'utf8');
  const body = page.replace(/<(script|style)>[\s\S]*?<\/\1>/g, '');
  assert.not.match(body, /\b(?:src|href)="(?!data:)/);
  assert.not.match(page.replace(/<script>[\s\S]*<\/script>/, ''), /url\(|@import/);
});

/** Of nobody that a browser knows. */
function certificate(): { cert: string; key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
  try {
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    run('openssl', [...made, '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=127.0.0.1']);
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('it connects by the name that it was called by, and by TLS where the port has it', async () => {
  const lack = lackForBrowser();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const browser = await startBrowser();
  try {
    for (const tls of [null, certificate()])
      await withControl({ tls }, async ({ port }) => {
        for (const name of ['127.0.0.1', 'localhost']) {
          const url = `${tls === null ? 'http' : 'https'}://${name}:${port}/`;
          const tab = await Tab.open(browser, url, { ignoreHTTPSErrors: true });
          await isConnected(tab.page);
          assert.equal(tab.faults, [], url);
          assert.equal([...new Set(tab.sockets)], [url.replace('http', 'ws')]);
          await tab.close();
        }
      });
  } finally {
    await browser.close();
  }
});

test.run();
