/**
 * Goal: an operation is one row. Method: a made-up row is put beside the others; without a line
 * more it is decoded, checked, refused, performed, answered in its own encoding, and told by
 * `help`.
 *
 * needs: a core
 */
import { pack, unpack } from 'msgpackr/pack';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { Codec, type Frame } from '../../src/control/codec.js';
import { MESSAGE_SIZE_MAX } from '../../src/control/constants.js';
import { operation } from '../../src/control/operation.js';
import { operations } from '../../src/control/operations.js';
import { ip, optional, seconds } from '../../src/control/parameters.js';
import { startControl } from '../../src/control/server.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';

const test = suite('operations');

const table = {
  ...operations,
  'subscriber.age': operation({
    typed: 'subscriber age <ip> [<seconds>]',
    does: 'how long it has been there',
    takes: { ip, seconds: optional(seconds) },
    fromWords: ([word, ...rest]) =>
      word === undefined ? null : { ip: word, ...(rest[0] ? { seconds: Number(rest[0]) } : {}) },
    beforeToken: true,
    messageSizeMax: 200_000,
    perform: async ({ replicator }, { ip, seconds = 1 }) => ({
      age: seconds * replicator.list().filter((row) => row.ip === ip).length,
    }),
    lines: ({ age }, { ip }) => [`ok ${ip} ${age} s`],
  }),
};

/** Asks one after the other, on one connection. */
async function ask(port: number, frames: readonly Frame[]): Promise<Frame[]> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`);
  await new Promise((resolve) => socket.once('open', resolve));
  const answers: Frame[] = [];
  for (const frame of frames) {
    const answered = new Promise<Frame>((resolve) => {
      // one Buffer a message is what ws gives
      socket.once('message', (data, isBinary) =>
        resolve(isBinary ? (data as Buffer) : String(data)),
      );
    });
    socket.send(frame);
    answers.push(await answered);
  }
  socket.terminate();
  return answers;
}

test('a made-up row is asked in all three encodings of a real server', async () => {
  const replicator = new MemoryReplicator();
  await replicator.add('10.0.0.34', 9001, null);
  const options = { address: '127.0.0.1', port: 0, replicator, operations: table };
  const control = await startControl({ ...options, tokens: { all: 'a-token', read: null } }); // and none is shown
  try {
    const request = { id: 7, op: 'subscriber.age', ip: '10.0.0.34', seconds: 5 };
    const [line, typed, json, msgpack, auth] = await ask(control.port, [
      'subscriber age 10.0.0.34',
      'subscriber age 10.0.0.34 5',
      JSON.stringify(request),
      pack(request),
      'list',
    ]);
    assert.is(line, 'ok 10.0.0.34 1 s');
    assert.is(typed, 'ok 10.0.0.34 5 s');
    assert.is(json, '{"id":7,"ok":true,"age":5}');
    assert.equal(unpack(msgpack as Buffer), { id: 7, ok: true, age: 5 }); // asked in msgpack
    assert.match(String(auth), /^error UNAUTHORIZED /, 'the others want the token as before');
  } finally {
    await control.close();
  }
});

test('what refuses it and what tells of it derive from the row', () => {
  const codec = new Codec(table);
  const refusal = (line: string) => {
    const decoded = codec.decode(Buffer.from(line), false);
    return 'error' in decoded ? `${decoded.error.code} ${decoded.error.message}` : 'a request';
  };
  const typed = 'subscriber age <ip> [<seconds>]';
  assert.is(refusal('subscriber age'), `BAD_REQUEST usage: ${typed}`);
  assert.is(refusal('{"op":"subscriber.age"}'), `BAD_REQUEST subscriber.age needs ip: ${typed}`);
  assert.is(
    refusal('{"op":"subscriber.age","ip":"10.0.0.1","age":1}'),
    'BAD_REQUEST subscriber.age does not take "age"',
  );
  assert.is(
    refusal('subscriber age 10.0.0'),
    'BAD_ADDRESS "10.0.0" is not an IPv4 address such as 10.0.0.34',
  );
  assert.is(
    refusal('subscriber age 10.0.0.1 9999'),
    'BAD_REQUEST seconds must be a number from 0.1 to 3600',
  );
  assert.match(
    refusal('subscriber name'),
    /^UNKNOWN_OP there is no .*; help tells what may be asked$/,
  );
  const padded = (size: number) => `{"op":"subscriber.age","ip":"10.0.0.1"${' '.repeat(size)}}`;
  assert.is(refusal(padded(MESSAGE_SIZE_MAX)), 'a request');
  assert.match(refusal(padded(200_000)), /^TOO_LARGE .*; at most 200000 are taken$/);
  assert.ok(
    codec.helpLines().some((line) => line.startsWith(typed) && line.endsWith('been there')),
  );
});

test.run();
