/**
 * The client's side of the control channel: connect, show the token, ask in JSON, get the reply as
 * it came. Every way this can fail becomes one sentence that says what to do. The room api puts the
 * operations on it, for programs and for the commands of the CLI.
 */

import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { WebSocket } from 'ws';
import { AddressFailure, type Code, Failure, FantailError, messageOf } from '../domain/errors.js';
import type { WatchEvent } from '../domain/replicator.js';
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

/** Of a connection; the flags that every client command has, but for the token itself. */
export interface ClientFlags {
  /** ws://host:port, or wss://; CONTROL_URL without. */
  control?: string;
  /** A file that holds the token; or the token. */
  tokenFile?: string;
  token?: string;
  /** A file with the certificate that signs the replicator's, PEM. */
  tlsCa?: string;
}

export interface Reply<Name extends Op = Op> {
  /** The frame as it came, for --json. */
  text: string;
  body: ({ ok: true } & Answer<Name>) | { ok: false; error: { code: Code; message: string } };
}

/** Whoever is told of what comes by itself. */
export interface Follower {
  onEvent?(event: WatchEvent): void;
  /** Nothing more comes; null: since we have closed it. */
  onEnd(why: Failure | null): void;
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
  private readonly followers = new Set<Follower>();
  /** Undefined: it is open. */
  private ended: Failure | null | undefined;

  constructor(
    private readonly webSocket: WebSocket,
    private readonly url: string,
    /** One was shown as it was opened. */
    private readonly hasToken = false,
  ) {
    webSocket.on('message', (data) => this.receive(String(data)));
    webSocket.on('error', () => {}); // `close` follows, and says it
    webSocket.on('close', (code, reason) => {
      const why = reason.length > 0 ? reason.toString() : `code ${code}`;
      this.end(new Failure(`${url} closed the connection: ${why}`));
    });
  }

  /** Asks, and gives the reply whether it is ok or not. */
  ask<Asked extends Question>(question: Asked): Promise<Reply<Asked['op']>> {
    if (this.webSocket.readyState !== WebSocket.OPEN)
      return Promise.reject(this.ended ?? new Failure(`the connection to ${this.url} is closed`));
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

  /** The answer of `ask`, or a FantailError with the server's own sentence and code. */
  orThrow<Name extends Op>(reply: Reply<Name>): Answer<Name> {
    const { body } = reply;
    if (!body.ok && body.error.code === 'UNAUTHORIZED' && !this.hasToken)
      throw new FantailError(
        'UNAUTHORIZED',
        'the control port wants a token; give it with --token-file F',
      );
    return orThrow(reply);
  }

  /** From now on; what it returns ends that. At once told of an end that has been. */
  follow(follower: Follower): () => void {
    if (this.ended !== undefined) follower.onEnd(this.ended);
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }

  /** Resolves when `signal` says stop, rejects when the channel ends. */
  untilEnd(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return resolve();
      this.follow({ onEnd: (why) => (why === null ? resolve() : reject(why)) });
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Who waits for an answer gets none. Twice is fine. */
  close(): void {
    this.end(null);
    this.webSocket.close();
    setTimeout(() => this.webSocket.terminate(), 500).unref();
  }

  private receive(text: string): void {
    const body = objectIn(text);
    if (body === null) {
      this.end(notFantail(this.url));
      this.webSocket.terminate(); // whatever it is, nothing more of it can be understood
    }
    // here and below: the server's own type, made by the same program
    else if (body.event === undefined)
      this.asked.shift()?.resolve({ text, body: body as Reply['body'] });
    else for (const each of this.followers) each.onEvent?.(body as unknown as WatchEvent);
  }

  private end(why: Failure | null): void {
    if (this.ended !== undefined) return;
    this.ended = why;
    const reason = why ?? new Failure(`the connection to ${this.url} was closed`);
    for (const { reject } of this.asked.splice(0)) reject(reason);
    for (const each of this.followers) each.onEnd(why);
  }
}

/** Connects; the token goes in the header, so that a wrong one is refused at once. */
export function connectClient(flags: ClientFlags): Promise<Client> {
  const url = controlUrl(flags.control ?? CONTROL_URL);
  const token = flags.tokenFile === undefined ? flags.token : readToken(flags.tokenFile);
  const webSocket = new WebSocket(url, {
    handshakeTimeout: CONNECT_TIMEOUT_MS,
    maxPayload: FRAME_SIZE_MAX,
    perMessageDeflate: false,
    ...(flags.tlsCa === undefined ? {} : { ca: certificateIn(flags.tlsCa) }),
    ...(token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } }),
  });
  return new Promise((resolve, reject) => {
    webSocket.once('open', () => resolve(new Client(webSocket, url, token !== undefined)));
    webSocket.once('error', (error: NodeJS.ErrnoException) => reject(connectFailure(error, url)));
    webSocket.once('unexpected-response', (_, response) => {
      webSocket.removeAllListeners('error');
      // terminate() says that it ended before it was open, which is known
      webSocket.on('error', () => {});
      void failureOfRefusal(response, url, flags).then((failure) => {
        webSocket.terminate();
        reject(failure);
      });
    });
  });
}

/** What was answered, or a FantailError with the server's own sentence and code. */
export function orThrow<Name extends Op>({ body }: Reply<Name>): Answer<Name> {
  if (body.ok) return body;
  const { code, message } = body.error;
  throw new FantailError(code, `${message} (${code})`);
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
    throw new AddressFailure(`takes ws://host:port, ${example}, not '${text}'`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new AddressFailure(`takes an address, ${example}, not '${text}'`);
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw new AddressFailure(
      `takes ws://host:port and nothing after it, ${example}, not '${text}'`,
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
  { tokenFile, token }: ClientFlags,
): Promise<Failure> {
  if (response.headers.server !== 'fantail') return notFantail(url);
  if (response.statusCode === 401) {
    const which = token === undefined ? '(none)' : 'it was given';
    return new Failure(`${url} refuses the token ${tokenFile ? `in ${tokenFile}` : which}`);
  }
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
