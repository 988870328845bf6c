/**
 * Goal: a client written against docs/protocol.schema.json alone is understood, and the schema
 * says no more and no less than the server. Method: requests made from the schema's examples and
 * from what is wrong with them, each judged by a validator of JSON Schema and by a server.
 *
 * needs: a core
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { type Control, startControl } from '../../src/control/server.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';
import { ROOT } from '../rig/program.js';
import { random } from '../rig/random.js';

const test = suite('schema of the protocol');

/** All that the client knows. */
interface Described {
  readonly properties: Readonly<Record<string, { examples?: unknown[]; const?: string }>>;
  readonly required: readonly string[];
  readonly dependentRequired?: Readonly<Record<string, readonly string[]>>;
}
const schema = JSON.parse(readFileSync(join(ROOT, 'docs', 'protocol.schema.json'), 'utf8'));
const requests: readonly Described[] = schema.oneOf.map(
  ({ $ref }: { $ref: string }) => schema.$defs[$ref.replace('#/$defs/', '')],
);
const ajv = new Ajv2020({ strict: false });
const isRequest = ajv.compile(schema);
const isAnswer = ajv.compile({ $defs: schema.$defs, $ref: '#/$defs/answer' });
const isEvent = ajv.compile({ $defs: schema.$defs, $ref: '#/$defs/event' });

type Asked = Record<string, unknown>;

/** Every choice of examples, with all parameters and with none that may be left out. */
function examplesOf({ properties, required }: Described): Asked[] {
  const { op, id: _, ...parameters } = properties;
  const whole = Object.entries(parameters).reduce<Asked[]>(
    (asked, [name, { examples = [] }]) =>
      asked.flatMap((each) => examples.map((value) => ({ ...each, [name]: value }))),
    [{ op: op?.const }],
  );
  const least = whole.map((each) =>
    Object.fromEntries(Object.entries(each).filter(([name]) => required.includes(name))),
  );
  return [...whole, ...least];
}

/** A client that knows nothing but that frames are JSON objects, answered in their order. */
class Client {
  readonly events: unknown[] = [];
  private readonly waiting: ((answer: { ok: boolean; error?: { code: string } }) => void)[] = [];

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => {
      const body = JSON.parse(String(data));
      if (body.event !== undefined) this.events.push(body);
      else this.waiting.shift()?.(body);
    });
  }

  ask(request: Asked): Promise<{ ok: boolean; error?: { code: string } }> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.socket.send(JSON.stringify(request));
    });
  }
}

async function withClient(work: (client: Client) => Promise<void>): Promise<void> {
  const control: Control = await startControl({
    ...{ address: '127.0.0.1', port: 0, tokens: null, replicator: new MemoryReplicator() },
  });
  const socket = new WebSocket(`ws://127.0.0.1:${control.port}`);
  await new Promise((resolve) => socket.once('open', resolve));
  try {
    await work(new Client(socket));
  } finally {
    socket.terminate();
    await control.close();
  }
}

/** What the server says of the words of a request, whatever it thinks of its sense. */
const REFUSED_AS_WRITTEN = new Set(['BAD_REQUEST', 'BAD_ADDRESS', 'UNKNOWN_OP', 'TOO_LARGE']);

test('each operation can be asked by the examples of the schema, and answers as it says', () =>
  withClient(async (client) => {
    for (const request of requests.flatMap(examplesOf)) {
      const shown = JSON.stringify(request);
      assert.ok(isRequest(request), `${shown}: ${ajv.errorsText(isRequest.errors)}`);
      const answer = await client.ask({ id: 7, ...request });
      assert.ok(isAnswer(answer), `${JSON.stringify(answer)}: ${ajv.errorsText(isAnswer.errors)}`);
      const code = answer.error?.code ?? '';
      assert.not.ok(REFUSED_AS_WRITTEN.has(code), `${shown}: ${JSON.stringify(answer)}`);
    }
    assert.ok((await client.ask({ op: 'watch', seconds: 0.1 })).ok);
    while (client.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(isEvent(client.events[0]), ajv.errorsText(isEvent.errors));
  }));

/** Of any type, and what is nearly right. */
const STRANGE: readonly unknown[] = [
  ...[null, true, false, '', ' ', 'all', 'main', 'session', 'hex:', 'hex:0', 'hex:zz', 'base64:'],
  ...[0, 1, -1, 1.5, 65_535, 65_536, 0.1, 0.05, 3600, 3601, 604_800, 604_801, 2 ** 53, 1e300],
  ...['10.0.0.34', '010.0.0.1', '256.1.1.1', '10.0.0', '::1', '239.1.1.1', '224.0.0.1', '9001'],
  ...[[], ['all'], ['all', 'main'], ['main', 'main'], ['B'], [1], {}, { ip: 1 }, ['main']],
  ...[
    'a'.repeat(32),
    'a'.repeat(33),
    'a'.repeat(1024),
    'a'.repeat(1025),
    'AAAA',
    'AAA',
    'A===',
    '====',
  ],
  ...[`hex:${'00'.repeat(64)}`, `hex:${'00'.repeat(65)}`, 'AA==', 'AAA=', 'base64:AAAA', 'B_-9'],
];

test('what is wrong by the schema is refused, and what is right is not refused for how it is written', () =>
  withClient(async (client) => {
    const { below } = random('what is wrong');
    const pick = <Each>(from: readonly Each[]) => from[below(from.length)] as Each; // none is empty
    let wrong = 0;
    const changed = requests.flatMap((described): Asked[] => {
      const [example = {}] = examplesOf(described);
      const names = Object.keys(described.properties);
      const single = names.flatMap((name) => [
        ...STRANGE.map((value) => ({ ...example, [name]: value })),
        Object.fromEntries(Object.entries(example).filter(([other]) => other !== name)),
      ]);
      return [...single, { ...example, extra: 1 }, { ...example, op: [example.op] }];
    });
    const mixed = Array.from({ length: 300 }, (): Asked => {
      const [example = {}] = examplesOf(pick(requests));
      const names = Object.keys(example);
      return { ...example, [pick(names)]: pick(STRANGE), ...(below(4) === 0 ? { more: 1 } : {}) };
    });
    for (const request of [...changed, ...mixed]) {
      // wrong tokens are answered late; that feed is refused for what it is
      if (request.op === 'auth' || request.name === 'main') continue;
      let answer = await client.ask(request);
      while (answer.error?.code === 'RATE_LIMITED') {
        await new Promise((resolve) => setTimeout(resolve, 200));
        answer = await client.ask(request);
      }
      const isRefused = REFUSED_AS_WRITTEN.has(answer.error?.code ?? '');
      const shown = JSON.stringify(request).slice(0, 200);
      const why = ajv.errorsText(isRequest.errors).slice(0, 300);
      assert.is(!isRequest(request), isRefused, `${shown} ${JSON.stringify(answer)} ${why}`);
      wrong += Number(isRefused);
    }
    assert.ok(wrong > 1000, `${wrong} of ${changed.length + mixed.length}`);
  }));

test.run();
