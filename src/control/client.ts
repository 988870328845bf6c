/**
 * The client's side of the control channel, as the commands of the CLI use it: connect, show the
 * token, ask in JSON, get the reply as it came. Every way this can fail becomes one sentence that
 * says what to do.
 */

import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { WebSocket } from 'ws';
import { type Code, Failure, messageOf, UsageError } from '../domain/errors.js';
import type { Stats } from '../domain/statistics.js';
import { CONTROL_URL } from './constants.js';
import { readToken } from './gate/token.js';
import type { Answer, Op, Question } from './operations.js';

const CONNECT_TIMEOUT_MS = 3000;
/**
 * `add` and `remove` are answered within 100 ms, a large filter is checked for seconds; a busy
 * machine gets time.
 */
const REPLY_TIMEOUT_MS = 30_000;
/** A reply of 4096 subscribers with all their counters is about 1.5 MB. */
const FRAME_SIZE_MAX = 16 * 1024 * 1024;

/** The flags that every client command has. */
export interface ClientFlags {
  control?: string;
  tokenFile?: string;
  tlsCa?: string;
}

export interface Reply<Name extends Op = Op> {
  /** The frame as it came, for --json. */
  text: string;
  body: Accepted<Name> | { ok: false; error: { code: Code; message: string } };
}

export type Accepted<Name extends Op = Op> = { ok: true } & Answer<Name>;

export interface StatsEvent {
  text: string;
  stats: Stats;
}

/** A question without its reply; which it is of, the order of replies tells. */
interface Waiting {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/** One connection. Replies come in the order of requests; events in between. */
export class Client {
  private nextId = 1;
  private readonly asked: Waiting[] = [];
  private onEvent: ((event: StatsEvent) => void) | undefined;
  private onEnd: ((error: Failure) => void) | undefined;

  constructor(
    private readonly webSocket: WebSocket,
    private readonly url: string,
  ) {
    webSocket.on('message', (data) => this.receive(String(data)));
    webSocket.on('error', () => {}); // `close` follows, and says it
    webSocket.on('close', (code, reason) => {
      const why = reason.length > 0 ? reason.toString() : `code ${code}`;
      this.fail(new Failure(`${url} closed the connection: ${why}`));
    });
  }

  /** Asks, and gives the reply whether it is ok or not. */
  ask<Asked extends Question>(question: Asked): Promise<Reply<Asked['op']>> {
    if (this.webSocket.readyState !== WebSocket.OPEN)
      return Promise.reject(new Failure(`${this.url} has closed the connection`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new Failure(
            `${this.url} did not answer within ${REPLY_TIMEOUT_MS / 1000} s; is it stopped?`,
          ),
        );
      }, REPLY_TIMEOUT_MS);
      const settle = <Value>(how: (value: Value) => void) => {
        return (value: Value) => {
          clearTimeout(timer);
          how(value);
        };
      };
      this.asked.push({ resolve: settle(resolve), reject: settle(reject) });
      this.webSocket.send(JSON.stringify({ id: this.nextId, ...question }));
      this.nextId += 1;
    });
  }

  /**
   * Asks for events and hands each to `onEvent`; resolves when `signal` says stop, rejects when the
   * channel ends.
   */
  async watch(
    seconds: number,
    onEvent: (event: StatsEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    this.onEvent = onEvent;
    orThrow(await this.ask({ op: 'watch', seconds }));
    await this.untilEnd(signal);
  }

  /** Resolves when `signal` says stop, rejects when the channel ends. */
  untilEnd(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return resolve();
      this.onEnd = reject;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  close(): void {
    this.onEnd = undefined;
    this.webSocket.close();
    setTimeout(() => this.webSocket.terminate(), 500).unref();
  }

  private receive(text: string): void {
    const body = objectIn(text);
    if (body === null) {
      this.fail(notFantail(this.url));
    } else if (body.event === 'stats') {
      // here and below: the server's own type, made by the same program
      this.onEvent?.({ text, stats: body as unknown as Stats });
    } else if (body.event === undefined) {
      this.asked.shift()?.resolve({ text, body: body as Reply['body'] });
    }
  }

  private fail(error: Failure): void {
    for (const { reject } of this.asked.splice(0)) reject(error);
    this.onEnd?.(error);
  }
}

/** Connects; the token goes in the header, so that a wrong one is refused at once. */
export function connect(flags: ClientFlags): Promise<Client> {
  const url = controlUrl(flags.control ?? CONTROL_URL);
  const token = flags.tokenFile === undefined ? null : readToken(flags.tokenFile);
  const webSocket = new WebSocket(url, {
    handshakeTimeout: CONNECT_TIMEOUT_MS,
    maxPayload: FRAME_SIZE_MAX,
    perMessageDeflate: false,
    ...(flags.tlsCa === undefined ? {} : { ca: certificateIn(flags.tlsCa) }),
    ...(token === null ? {} : { headers: { Authorization: `Bearer ${token}` } }),
  });
  return new Promise((resolve, reject) => {
    webSocket.once('open', () => resolve(new Client(webSocket, url)));
    webSocket.once('error', (error: NodeJS.ErrnoException) => reject(connectFailure(error, url)));
    webSocket.once('unexpected-response', (_, response) => {
      webSocket.removeAllListeners('error');
      // terminate() says that it ended before it was open, which is known
      webSocket.on('error', () => {});
      void failureOfRefusal(response, url, flags.tokenFile).then((failure) => {
        webSocket.terminate();
        reject(failure);
      });
    });
  });
}

/** Connects, does `work`, and closes whatever happens. */
export async function withClient<Result>(
  flags: ClientFlags,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = await connect(flags);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** What was answered, or a Failure with the server's own sentence. */
export function orThrow<Name extends Op>({ body }: Reply<Name>): Accepted<Name> {
  if (body.ok) return body;
  const { code, message } = body.error;
  if (code === 'UNAUTHORIZED' && !/only read/.test(message))
    throw new Failure('the control port wants a token; give it with --token-file F');
  throw new Failure(`${message} (${code})`);
}

/** True where a fantail answers on that port, whatever it answers. */
export async function isFantail(address: string, port: number): Promise<boolean> {
  return (
    (await answersAsFantail(httpRequest, address, port)) ||
    // who it is does not matter here: nothing is told to it
    (await answersAsFantail(httpsRequest, address, port, { rejectUnauthorized: false }))
  );
}

function answersAsFantail(
  request: typeof httpRequest | typeof httpsRequest,
  address: string,
  port: number,
  more: { rejectUnauthorized?: boolean } = {},
): Promise<boolean> {
  return new Promise((resolve) => {
    const where = { host: address, port, path: '/', timeout: 1000, ...more };
    const asked = request(where, (response) => {
      response.resume();
      resolve(response.headers.server === 'fantail');
    });
    asked.once('timeout', () => asked.destroy());
    asked.once('error', () => resolve(false));
    asked.end();
  });
}

function controlUrl(text: string): string {
  const example = `such as ${CONTROL_URL}`;
  const scheme = /^wss?:\/\//.exec(text)?.[0];
  if (scheme === undefined)
    throw new UsageError(`--control takes ws://host:port, ${example}, not '${text}'`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new UsageError(`--control '${text}' is not an address, ${example}`);
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw new UsageError(
      `--control takes ws://host:port and nothing after it, ${example}, not '${text}'`,
    );
  }
  return `${scheme}${url.host}`;
}

/** PEM of whom a replicator's certificate is signed by, or of itself. */
function certificateIn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new Failure(`cannot read the certificate of --tls-ca: ${messageOf(thrown)}`);
  }
}

/** What OpenSSL says of a certificate that it does not trust. */
const UNTRUSTED = /^(DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_|ERR_TLS_CERT)/;

function connectFailure(error: NodeJS.ErrnoException, url: string): Failure {
  if (error.code === 'ECONNREFUSED') {
    const cure =
      'start it with: fantail up <interface> <listen_ip> <listen_port>, or name another with --control';
    return new Failure(`nothing listens at ${url}; ${cure}`, error.code);
  }
  if (/timed out/.test(error.message) || error.code === 'ETIMEDOUT') {
    return new Failure(
      `${url} does not answer; check the address given with --control`,
      'ETIMEDOUT',
    );
  }
  if (UNTRUSTED.test(error.code ?? ''))
    return new Failure(
      `the certificate of ${url} is not trusted (${error.message}); give its issuer with --tls-ca F`,
      error.code,
    );
  if (error.code === 'EPROTO')
    return new Failure(`${url} speaks no TLS; try ws:// in place of wss://`, error.code);
  if (error.code === 'ECONNRESET' && url.startsWith('ws:'))
    return new Failure(`${url} closed at once; if it was started with --tls-cert, try wss://`);
  // no code, or one of the HTTP parser: something else speaks there
  if (error.code === undefined || error.code.startsWith('HPE_')) return notFantail(url);
  return new Failure(
    `cannot reach ${url}: ${error.message}; check the address given with --control`,
    error.code,
  );
}

function notFantail(url: string): Failure {
  return new Failure(
    `what answers at ${url} is not a fantail control port; give another one with --control`,
  );
}

/** The sentence in the body of an HTTP refusal. */
async function failureOfRefusal(
  response: IncomingMessage,
  url: string,
  tokenFile: string | undefined,
): Promise<Failure> {
  if (response.headers.server !== 'fantail') return notFantail(url);
  if (response.statusCode === 401)
    return new Failure(`${url} refuses the token in ${tokenFile ?? '(none)'}`);
  let body = '';
  response.setEncoding('utf8');
  try {
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > 4096) break;
    }
  } catch {
    // cut off: what has come is said
  }
  return new Failure(
    `${url} refuses: ${body.trim().replace(/^fantail: /, '') || `HTTP ${response.statusCode}`}`,
  );
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null; // just checked
  } catch {
    return null;
  }
}
