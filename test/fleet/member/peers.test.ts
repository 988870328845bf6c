/**
 * Goal: a member believes of its peers no more than it asked for. Method: servers on loopback that
 * answer wrongly, too much, too late, or for somebody else, and a real control port.
 *
 * needs: a core
 */
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Health, startControl } from '../../../src/control/server.js';
import { ANSWER_MS_MAX, askPeers, type Peers } from '../../../src/fleet/member/peers.js';
import { BEAT_MS } from '../../../src/fleet/member/tenure.js';
import { MemoryReplicator } from '../../rig/memory-replicator.js';
import { eventually } from '../../rig/program.js';

const test = suite('peers of a member');
const closers: (() => unknown)[] = [];
test.after.each(async () => {
  for (const close of closers.splice(0)) await close();
});

/** Servers are in this process, which may be without a core: whoever answers is waited for. */
const HANGS_MS = 60_000;

/** Of `[peers, answering, reaching]`. */
async function answersOf(members: Peers['members'], group = 'g', answer_ms_max = HANGS_MS) {
  const { peers, answering, reaching } = await askPeers({ group, members, answer_ms_max });
  return [peers, answering, reaching];
}

const OK = 'HTTP/1.1 200 OK\r\nServer: fantail\r\n';

async function portOf(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens to TCP
}

/** A peer of that name whose port does so. */
async function peer(member: string, onConnection: (socket: Socket) => void) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    closers.push(() => socket.destroy());
    onConnection(socket);
  });
  return { member, control: await portOf(server) };
}

const says = (text: string) => (socket: Socket) => {
  socket.once('data', () => socket.write(text));
};

test('whoever answers wrongly, too much or too late has not answered', async () => {
  const endless = (socket: Socket, text: string) => {
    const timer = setInterval(() => socket.write(text), 5);
    socket.once('close', () => clearInterval(timer));
  };
  const wrong: [string, (socket: Socket) => void][] = [
    ['another server', says('HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n')],
    ['no server', says('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')],
    ['another status', says('HTTP/1.1 204 No Content\r\nServer: fantail\r\n\r\n')],
    ['a way on', says('HTTP/1.1 302 Found\r\nServer: fantail\r\nLocation: /healthz\r\n\r\n')],
    ['no HTTP', says('ok\r\n\r\n')],
    ['the end', (socket) => socket.end()],
    ['a long head', says(`${OK}X: ${'x'.repeat(5000)}\r\n\r\n`)],
    ['another protocol', says('HTTP/1.1 101 Switching\r\nServer: fantail\r\n\r\n')],
  ];
  for (const [name, does] of wrong) {
    const began_ms = performance.now();
    assert.equal(await answersOf([await peer(name, does)]), [1, 0, 0], name);
    assert.ok(performance.now() - began_ms < HANGS_MS, `${name} is no answer at once`);
  }
  // these have not ended when their time is over, however long that was
  const late: [string, (socket: Socket) => void][] = [
    ['half a head', says(OK)],
    ['nothing', () => {}],
    ['a head without an end', (socket) => endless(socket, 'HTTP/1.1 100 Continue\r\n\r\n')],
  ];
  for (const [name, does] of late) {
    const members = [await peer(name, does)];
    const { peers, answering } = await askPeers({ group: 'g', members });
    assert.equal([peers, answering], [1, 0], name);
  }
  const nowhere = ['http://127.0.0.1:1', 'http://[', 'ftp://127.0.0.1', 'http://127.0.0.1:99999'];
  const members = nowhere.map((control) => ({ member: 'a', control }));
  assert.equal(await answersOf(members), [4, 0, 0]);
});

test('nobody is waited for until he is asked again', () => {
  assert.ok(ANSWER_MS_MAX < BEAT_MS);
});

test('what comes behind the head is not read, and its connection is ended', async () => {
  let isClosed = false;
  const one = await peer('a', (socket) => {
    socket.once('data', () => {
      socket.write(`${OK}\r\n`);
      const timer = setInterval(() => socket.write('x'.repeat(1000)), 5);
      socket.once('close', () => {
        clearInterval(timer);
        isClosed = true;
      });
    });
  });
  assert.equal(await answersOf([one]), [1, 1, 1]);
  await eventually('the connection is ended', () => isClosed);
});

test('each is asked as that member of that group', async () => {
  const asked: unknown[] = [];
  const server = createHttp(({ url, headers }, response) => {
    asked.push([url, headers['fantail-group'], headers['fantail-member']]);
    response.writeHead(503, { Server: 'fantail' }).end();
  });
  const control = await portOf(server);
  assert.equal(await answersOf([{ member: 'm2', control }], 'desks'), [1, 1, 0]);
  assert.equal(asked, [['/fleetz', 'desks', 'm2']]);
});

test('one of 0.1.0, which does not know that question, has answered all the same', async () => {
  const statuses = [200, 503];
  for (const status of statuses) {
    // it looks the whole address up, and asks for a token where it does not know that
    const server = createHttp(({ url }, response) => {
      response.writeHead(url === '/fleetz' ? status : 401, { Server: 'fantail' }).end();
    });
    const members = [{ member: 'm2', control: await portOf(server) }];
    assert.equal(await answersOf(members, 'desks'), [1, 1, status === 200 ? 1 : 0]);
  }
});

test('a control port answers for the member that it is, and for no other', async () => {
  let health: Health = { isHealthy: true, isReady: true };
  const control = await startControl({
    ...{ address: '127.0.0.1', port: 0, tokens: null },
    replicator: new MemoryReplicator(),
    health: () => health,
  });
  closers.push(() => control.close());
  const url = `http://127.0.0.1:${control.port}`;
  const ask = async (group: string, member: string) =>
    (await answersOf([{ member, control: url }], group)).slice(1);
  // a replicator by itself knows nothing of etcd: it is not one that does not reach it
  assert.equal(await ask('desks', 'm2'), [0, 0]);
  const membership = { group: 'desks', member: 'm2', reachesRegistry: true };
  health = { ...health, member: membership };
  assert.equal(await ask('desks', 'm2'), [1, 1]);
  assert.equal(
    [await ask('desks', 'm3'), await ask('other', 'm2')],
    [
      [0, 0],
      [0, 0],
    ],
  );
  health = { ...health, member: { ...membership, reachesRegistry: false } };
  assert.equal(await ask('desks', 'm2'), [1, 0]);
  // who watches it names nobody
  const status = async (headers: Record<string, string>) =>
    (await fetch(`${url}/fleetz`, { headers })).status;
  assert.equal([await status({}), await status({ 'fantail-member': 'm3' })], [503, 404]);
  // what somebody asks behind the address, a version to come say, leaves it an answer
  assert.is((await fetch(`${url}/fleetz?since=1`)).status, 503);
});

test.run();
