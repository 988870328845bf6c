/**
 * HTTP to etcd's own JSON gateway (v3 API): one request on one of several endpoints, the next one
 * where that does not answer. Every request has a time after which its endpoint is given up.
 *
 * No client library: fencing needs the moment at which each acknowledged request was *sent*, which
 * libraries hide behind their retries (docs/decisions.md, 84).
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { EtcdAway, EtcdRefusal, type Json, numberOf, objectOf } from './answers.js';

/** How etcd is reached, and as whom. */
export interface EtcdOptions {
  /** Such as http://10.0.0.1:2379, in the order in which they are tried. */
  readonly endpoints: readonly string[];
  readonly user: { readonly name: string; readonly password: string } | null;
  /** PEM. Null: https, if it is that, with whom Node trusts. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string } | null;
}

/** Of one request on one endpoint: to the head of its answer, and from there to the last byte. */
export const REQUEST_MS_MAX = 3000;
/** Bytes of an answer: a page of subscribers is some 300 KB, a module in base64 1.4 MB. */
const ANSWER_SIZE_MAX = 32 * 1024 * 1024;
/** Connections that wait to be used again, of each endpoint. */
const IDLE_SOCKETS_MAX = 16;

/** gRPC codes (google.golang.org/grpc/codes) after which another endpoint may do better. */
const UNAVAILABLE = new Set([4 /* deadline exceeded */, 14 /* unavailable */]);
const UNAUTHENTICATED = 16;

export interface Answered {
  readonly body: Json;
  /** When the request that was answered was sent: CLOCK_MONOTONIC, nanoseconds. */
  readonly sent_ns: bigint;
}

/** A watch that goes on: what is read of it, and whose end ends it. */
export interface Stream {
  readonly response: IncomingMessage;
  readonly close: () => void;
}

export class Gateway {
  /** Which endpoint is asked first: the last that has answered. */
  private current = 0;
  /** Of etcd's authentication; null: none was asked for yet. */
  private token: string | null = null;
  private readonly agents: (HttpAgent | HttpsAgent)[];

  constructor(private readonly options: EtcdOptions) {
    const kept = { keepAlive: true, maxFreeSockets: IDLE_SOCKETS_MAX };
    this.agents = options.endpoints.map((url) =>
      url.startsWith('https:') ? new HttpsAgent({ ...kept, ...options.tls }) : new HttpAgent(kept),
    );
  }

  /** The endpoint that is asked first. */
  get endpoint(): string {
    return this.options.endpoints[this.current] ?? '';
  }

  /** Asks each endpoint once. Throws EtcdRefusal, or EtcdAway where none has answered. */
  async ask(path: string, body: Json, timeout_ms = REQUEST_MS_MAX): Promise<Answered> {
    return this.overEndpoints((at) => this.askAt(at, path, body, timeout_ms));
  }

  /** Opens an answer that goes on; the time is that to its first byte. */
  async open(path: string, body: Json, headers: Record<string, string>): Promise<Stream> {
    return this.overEndpoints((at) =>
      this.authorized(at, (token) => {
        return this.send(at, path, {
          body,
          headers: { ...headers, ...token },
          timeout_ms: REQUEST_MS_MAX,
        });
      }),
    );
  }

  /** The one that is asked first has failed: another is, from now on. */
  giveUp(endpoint: string): void {
    if (endpoint === this.endpoint)
      this.current = (this.current + 1) % this.options.endpoints.length;
  }

  close(): void {
    for (const agent of this.agents) agent.destroy();
  }

  private async overEndpoints<Result>(work: (at: number) => Promise<Result>): Promise<Result> {
    let last = new EtcdAway('no endpoint');
    for (let tried = 0; tried < this.options.endpoints.length; tried++) {
      const at = this.current;
      try {
        return await work(at);
      } catch (error) {
        if (!(error instanceof EtcdAway)) throw error;
        last = error;
        this.giveUp(this.options.endpoints[at] ?? '');
      }
    }
    throw last;
  }

  private askAt(at: number, path: string, body: Json, timeout_ms: number): Promise<Answered> {
    return this.authorized(at, async (token) => {
      const sent_ns = process.hrtime.bigint();
      const { response, close } = await this.send(at, path, { body, headers: token, timeout_ms });
      try {
        return { body: await within(timeout_ms, close, bodyOf(response)), sent_ns };
      } catch (error) {
        throw this.away(at, error);
      }
    });
  }

  /** With the token of a user, which is asked for again once etcd knows it no more. */
  private async authorized<Result>(
    at: number,
    work: (headers: Record<string, string>) => Promise<Result>,
  ): Promise<Result> {
    if (this.options.user === null) return work({});
    const token = this.token ?? (await this.authenticate(at));
    try {
      return await work({ Authorization: token });
    } catch (error) {
      if (!(error instanceof EtcdRefusal) || error.grpcCode !== UNAUTHENTICATED) throw error;
      return work({ Authorization: await this.authenticate(at) });
    }
  }

  private async authenticate(at: number): Promise<string> {
    const timeout_ms = REQUEST_MS_MAX;
    const body = { ...this.options.user };
    const asked = { body, headers: {}, timeout_ms };
    const { response, close } = await this.send(at, '/v3/auth/authenticate', asked);
    const { token } = await within(timeout_ms, close, bodyOf(response)).catch((error) => {
      throw this.away(at, error);
    });
    if (typeof token !== 'string') throw new EtcdRefusal('etcd gave no token', UNAUTHENTICATED);
    this.token = token;
    return token;
  }

  /** Resolves with the head of an answer that is none of a refusal. */
  private send(
    at: number,
    path: string,
    {
      body,
      headers,
      timeout_ms,
    }: { body: Json; headers: Record<string, string>; timeout_ms: number },
  ): Promise<Stream> {
    const url = this.options.endpoints[at] ?? '';
    const agent = this.agents[at];
    const text = JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const isTls = url.startsWith('https:');
      const asked = (isTls ? httpsRequest : httpRequest)(`${url}${path}`, {
        ...(agent === undefined ? {} : { agent }),
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(text),
          ...headers,
        },
      });
      const close = () => void asked.destroy(new Error('does not answer'));
      const timer = setTimeout(close, timeout_ms);
      asked.once('error', (error) => {
        clearTimeout(timer);
        reject(this.away(at, error));
      });
      asked.once('response', (response) => {
        clearTimeout(timer);
        asked.on('error', () => {}); // the answer's own end tells
        if (response.statusCode === 200) return resolve({ response, close });
        within(timeout_ms, close, refusalOf(response)).then(
          (error) => reject(UNAVAILABLE.has(error.grpcCode) ? this.away(at, error) : error),
          (error) => reject(this.away(at, error)),
        );
      });
      asked.end(text);
    });
  }

  private away(at: number, error: unknown): EtcdAway {
    const { message } = error as Error; // whatever is thrown here is one
    return new EtcdAway(`${this.options.endpoints[at]}: ${message}`);
  }
}

/** `close` ends the answer that is read if it is not whole by then. */
async function within<Result>(
  timeout_ms: number,
  close: () => void,
  reading: Promise<Result>,
): Promise<Result> {
  const timer = setTimeout(close, timeout_ms);
  try {
    return await reading;
  } finally {
    clearTimeout(timer);
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response) {
    parts.push(part as Buffer); // no encoding is set
    size += (part as Buffer).length;
    if (size > ANSWER_SIZE_MAX) throw new Error(`an answer of more than ${ANSWER_SIZE_MAX} bytes`);
  }
  return Buffer.concat(parts).toString();
}

async function bodyOf(response: IncomingMessage): Promise<Json> {
  return JSON.parse(await textOf(response)) as Json;
}

/** What etcd says is wrong, in the words of its gateway. */
async function refusalOf(response: IncomingMessage): Promise<EtcdRefusal> {
  const text = (await textOf(response)).trim();
  let said: Json = {};
  try {
    said = JSON.parse(text) as Json;
  } catch {
    // a proxy's page, or a sentence
  }
  // of a stream that fails at once the error is an object
  const error = objectOf(said.error);
  const reason = said.message ?? error.message ?? said.error ?? text.slice(0, 200);
  const message = String(reason || 'no reason');
  const code = numberOf(said.code ?? error.grpc_code);
  if (response.statusCode === 503 || response.statusCode === 504)
    return new EtcdRefusal(message, 14);
  return new EtcdRefusal(`${message} (HTTP ${response.statusCode})`, code);
}
