/**
 * The control port: a WebSocket server whose sessions ask the replicator, and plain HTTP beside it.
 *
 * Who may speak is decided before a WebSocket exists (`refusal`): peer, Host, Origin, token, number
 * of sessions; a refusal is an HTTP status and a sentence. A session then handles one request after
 * the other, and sends each answer before it takes the next, so that answers keep their order and a
 * peer that does not read stops only itself. Called by the supervisor; it owns its sockets and
 * timers, and knows the replicator only by its interface.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { type RawData, WebSocket, WebSocketServer } from 'ws';
import { Failure, FantailError, messageOf, never } from '../domain/errors.js';
import type { Replicator } from '../domain/replicator.js';
import { REQUESTS_PER_SECOND_MAX, SESSIONS_MAX, UNAUTHORIZED_SESSIONS_MAX } from './constants.js';
import {
  type Answer,
  type Decoded,
  decode,
  type Encoding,
  encodeAnswer,
  encodeError,
  encodeEvent,
  type Request,
} from './protocol.js';
import { sameToken } from './token.js';

/** Refusals of one session in a second before its socket is not read until that second is over. */
const REFUSALS_PER_SECOND_MAX = 2000;
/** Requests of a session that wait for their turn before its socket is not read. */
const WAITING_MAX = 256;
/**
 * Bytes of a frame before ws cuts the connection (1009); up to here TOO_LARGE is answered. Base64
 * of 1 MiB fits.
 */
const FRAME_SIZE_MAX = 1536 * 1024;
/** Wrong tokens in one session before it is closed. */
const AUTH_TRIES_MAX = 5;
/** A session that has not shown the token is closed after this time. */
const AUTH_WAIT_MS = 30_000;
/** A peer must have read an answer after this time, and must answer a ping before the next. */
const STALL_MS = 30_000;
/**
 * An event is skipped while this much of a session is unread, and the session is closed after so
 * many in a row.
 */
const UNREAD_SIZE_MAX = 256 * 1024;
const SKIPPED_EVENTS_MAX = 10;
const SKIPPED_EVENTS_MS_MIN = 5000;
/** Time that a peer has to close its side when the server closes. */
const CLOSE_WAIT_MS = 500;

/** Handles a plain HTTP request that has passed all checks; false: it is none of its business. */
export type OnHttp = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface ControlOptions {
  address: string;
  /** 0: any free port. */
  port: number;
  /** null: only loopback is served. */
  token: string | null;
  replicator: Replicator;
  onHttp?: OnHttp;
  /** Told of each error that is a fault of fantail's own. */
  onError?: (error: unknown) => void;
}

export interface Control {
  port: number;
  /** Ends all sessions (1001) and frees the port; calling it twice is fine. */
  close(): Promise<void>;
}

/**
 * Opens the control port. An address that is taken or not ours rejects with a Failure that carries
 * the errno.
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const sessions = new Set<Session>();
  let closing: Promise<void> | undefined;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_SIZE_MAX,
    perMessageDeflate: false,
  });
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: 2000,
    },
    (request, response) => serveHttp(request, response, options),
  );
  server.maxConnections = SESSIONS_MAX * 2;
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    const leaving = closing === undefined ? null : { status: 503, sentence: 'fantail stops' };
    const refused = leaving ?? refusal(request, options) ?? crowded(request, options, sessions);
    if (refused !== null) return refuseUpgrade(socket, refused);
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const authorized = options.token === null || bearer(request) !== undefined;
      const session = new Session(webSocket, options, authorized);
      sessions.add(session);
      webSocket.once('close', () => sessions.delete(session));
    });
  });
  const port = await listen(server, options);
  server.on('error', (error) => options.onError?.(error));
  const heartbeat = setInterval(() => {
    for (const session of sessions) session.checkAlive();
  }, STALL_MS);
  const close = async () => {
    clearInterval(heartbeat);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    await Promise.all([...sessions].map((session) => session.end(1001, 'fantail stops')));
    server.closeAllConnections();
    await closed;
  };
  return {
    port,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function listen(server: Server, { address, port }: ControlOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new Failure(listenFailure(error, address, port), error.code ?? null));
    });
    server.listen({ host: address, port, exclusive: true }, () => {
      server.removeAllListeners('error');
      // a TCP server that listens has an AddressInfo
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenFailure(error: NodeJS.ErrnoException, address: string, port: number): string {
  const where = `control port ${address}:${port}`;
  if (error.code === 'EADDRINUSE')
    return `${where} is taken; give another one with --control IP:PORT`;
  if (error.code === 'EADDRNOTAVAIL')
    return `${where}: this host has no address ${address}; see: ip -brief address`;
  if (error.code === 'EACCES')
    return `${where} needs privileges; give a port from 1024 up with --control IP:PORT`;
  return `${where} cannot be opened: ${error.message}`;
}

// ---- who may speak ------------------------------------------------------------------------------

interface Refusal {
  status: number;
  sentence: string;
}

/** Why a request is not served at all, or null. The same for plain HTTP and for an upgrade. */
function refusal(request: IncomingMessage, { token }: ControlOptions): Refusal | null {
  if (token === null && !isLoopback(request.socket.remoteAddress ?? '')) {
    return {
      status: 403,
      sentence: 'only loopback is served; start fantail with --token-file to serve others',
    };
  }
  const host = parseHost(request.headers.host);
  if (host === null) {
    return {
      status: 403,
      sentence: 'Host must be an IP address or localhost, so that no name can be rebound to us',
    };
  }
  const { origin } = request.headers;
  if (origin !== undefined && !sameOrigin(origin, request.headers.host ?? '')) {
    return { status: 403, sentence: `Origin must be the Host that was asked for, http://${host}` };
  }
  const offered = bearer(request);
  if (token !== null && offered !== undefined && !sameToken(offered, token)) {
    return { status: 401, sentence: 'wrong token' };
  }
  return null;
}

/**
 * A session may begin without the token and show it by `auth`; such sessions have a smaller cap of
 * their own.
 */
function crowded(
  request: IncomingMessage,
  { token }: ControlOptions,
  sessions: Set<Session>,
): Refusal | null {
  if (sessions.size >= SESSIONS_MAX) {
    return { status: 503, sentence: `${SESSIONS_MAX} sessions are served; close one first` };
  }
  if (token === null || bearer(request) !== undefined) return null;
  const strangers = [...sessions].filter((session) => !session.authorized).length;
  if (strangers < UNAUTHORIZED_SESSIONS_MAX) return null;
  return {
    status: 503,
    sentence: 'too many sessions without a token; send Authorization: Bearer TOKEN',
  };
}

/** 127.0.0.0/8 and ::1, also as IPv4-mapped IPv6. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\./.test(address) || address === '::1';
}

/** Host as `name[:port]` if its name is an IP literal or localhost, else null. */
function parseHost(header: string | undefined): string | null {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]/@?#\s]+)(:[0-9]{1,5})?$/.exec(header ?? '');
  const name = match?.[1];
  if (name === undefined) return null;
  const literal = name.startsWith('[') ? name.slice(1, -1) : name;
  const trusted = isIP(literal) !== 0 || literal.toLowerCase() === 'localhost';
  return trusted ? `${name}${match?.[2] ?? ''}`.toLowerCase() : null;
}

function sameOrigin(origin: string, host: string): boolean {
  const match = /^(https?):\/\/(.+)$/.exec(origin);
  if (match === null) return false;
  try {
    const [from, to] = [new URL(origin), new URL(`${match[1]}://${host}`)];
    return from.host === to.host && from.pathname === '/' && from.username === '';
  } catch {
    return false;
  }
}

/** The token of `Authorization: Bearer TOKEN`; another scheme counts as a wrong token. */
function bearer(request: IncomingMessage): string | undefined {
  const { authorization } = request.headers;
  if (authorization === undefined) return undefined;
  return /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1] ?? '';
}

const statusTexts: Record<number, string> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  503: 'Service Unavailable',
};

function refuseUpgrade(socket: Duplex, { status, sentence }: Refusal): void {
  const body = `fantail: ${sentence}\n`;
  const head = [
    `HTTP/1.1 ${status} ${statusTexts[status]}`,
    'Server: fantail',
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.once('finish', () => socket.destroy());
}

function httpRefusal(request: IncomingMessage, options: ControlOptions): Refusal | null {
  const refused = refusal(request, options);
  if (refused !== null) return refused;
  if (options.token !== null && bearer(request) === undefined) {
    return { status: 401, sentence: 'a token is wanted; send Authorization: Bearer TOKEN' };
  }
  if (request.method === 'GET' || request.method === 'HEAD') return null;
  return { status: 405, sentence: 'only GET is served here' };
}

function serveHttp(
  request: IncomingMessage,
  response: ServerResponse,
  options: ControlOptions,
): void {
  response.setHeader('Server', 'fantail');
  const answer = (status: number, sentence: string) => {
    if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
    if (status === 405) response.setHeader('Allow', 'GET, HEAD');
    response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(request.method === 'HEAD' ? '' : `fantail: ${sentence}\n`);
  };
  const refused = httpRefusal(request, options);
  if (refused !== null) {
    answer(refused.status, refused.sentence);
  } else if (!isHandled(request, response, options)) {
    if (request.url === '/')
      answer(200, `the control port; try: wscat -c ws://${request.headers.host} -x help`);
    else answer(404, 'there is nothing at this address');
  }
}

/** A fault in the handler ends its own request and nothing else. */
function isHandled(
  request: IncomingMessage,
  response: ServerResponse,
  options: ControlOptions,
): boolean {
  try {
    return options.onHttp?.(request, response) === true;
  } catch (thrown) {
    options.onError?.(thrown);
    if (!response.headersSent) response.writeHead(500);
    response.end();
    return true;
  }
}

// ---- one session --------------------------------------------------------------------------------

class Session {
  authorized: boolean;
  private readonly waiting: Decoded[] = [];
  private working = false;
  private alive = true;
  private paused = false;
  private authTries = 0;
  private secondStart = 0;
  private requests = 0;
  private readonly authTimer: NodeJS.Timeout;
  private secondTimer: NodeJS.Timeout | undefined;
  private watchTimer: NodeJS.Timeout | undefined;
  private skippedEvents = 0;

  constructor(
    private readonly webSocket: WebSocket,
    private readonly options: ControlOptions,
    authorized: boolean,
  ) {
    this.authorized = authorized;
    this.authTimer = setTimeout(() => {
      if (!this.authorized) void this.end(1008, 'no token was shown');
    }, AUTH_WAIT_MS);
    webSocket.on('message', (data, isBinary) => this.receive(data, isBinary));
    webSocket.on('pong', () => {
      this.alive = true;
    });
    // ws has sent a code of its own already, such as 1009
    webSocket.on('error', () => void this.end(1002, 'bad frame'));
    webSocket.on('close', () => this.forget());
  }

  /** Called every STALL_MS: a peer that has not answered the last ping is gone. */
  checkAlive(): void {
    if (this.alive || this.paused) {
      this.alive = false;
      this.webSocket.ping();
    } else this.webSocket.terminate();
  }

  /** Closes in peace, and by force where the peer does not answer. */
  end(code: number, reason: string): Promise<void> {
    this.forget();
    return new Promise((resolve) => {
      if (this.webSocket.readyState === WebSocket.CLOSED) return resolve();
      const force = setTimeout(() => this.webSocket.terminate(), CLOSE_WAIT_MS);
      this.webSocket.once('close', () => {
        clearTimeout(force);
        resolve();
      });
      if (this.paused) this.webSocket.resume(); // a paused socket would not see the peer's close
      this.webSocket.close(code, reason);
    });
  }

  private forget(): void {
    clearTimeout(this.authTimer);
    clearTimeout(this.secondTimer);
    clearInterval(this.watchTimer);
    this.waiting.length = 0;
  }

  private receive(data: RawData, isBinary: boolean): void {
    if (this.webSocket.readyState !== WebSocket.OPEN) return;
    // ws gives one Buffer a message, since its binaryType is left at nodebuffer
    const decoded = decode(data as Buffer, isBinary);
    this.waiting.push(
      this.overRate() ? { ...withoutRequest(decoded), error: rateLimited() } : decoded,
    );
    this.adjustReading();
    if (!this.working) void this.work();
  }

  /** Counts requests in seconds that begin with the first of them. */
  private overRate(): boolean {
    const now = performance.now();
    if (now - this.secondStart >= 1000) {
      this.secondStart = now;
      this.requests = 0;
    }
    this.requests += 1;
    if (this.requests === REQUESTS_PER_SECOND_MAX + REFUSALS_PER_SECOND_MAX) {
      const rest = this.secondStart + 1000 - now;
      this.secondTimer = setTimeout(() => {
        this.secondTimer = undefined;
        this.adjustReading();
      }, rest);
    }
    return this.requests > REQUESTS_PER_SECOND_MAX;
  }

  /** Reads from the socket unless too much waits here already, or the peer is far over its rate. */
  private adjustReading(): void {
    const pause = this.waiting.length >= WAITING_MAX || this.secondTimer !== undefined;
    if (pause === this.paused || this.webSocket.readyState !== WebSocket.OPEN) return;
    this.paused = pause;
    if (pause) this.webSocket.pause();
    else this.webSocket.resume();
  }

  private async work(): Promise<void> {
    this.working = true;
    for (;;) {
      const next = this.waiting.shift();
      if (next === undefined) break;
      this.adjustReading();
      await this.send(await this.answer(next));
    }
    this.working = false;
  }

  private async answer(decoded: Decoded): Promise<string | Buffer> {
    const { encoding, id } = decoded;
    try {
      const op = 'request' in decoded ? decoded.request.op : decoded.op;
      if (!this.authorized && op !== 'auth') {
        throw new FantailError('UNAUTHORIZED', 'a token is wanted; send: auth TOKEN');
      }
      if ('error' in decoded) throw decoded.error;
      return encodeAnswer(encoding, id, await this.perform(decoded.request, encoding));
    } catch (thrown) {
      if (thrown instanceof FantailError && thrown.code !== 'INTERNAL')
        return encodeError(encoding, id, thrown);
      this.options.onError?.(thrown);
      const message = `a fault of fantail's own, see its log: ${messageOf(thrown)}`;
      return encodeError(encoding, id, new FantailError('INTERNAL', message));
    }
  }

  private async perform(request: Request, encoding: Encoding): Promise<Answer> {
    const { replicator } = this.options;
    switch (request.op) {
      case 'add': {
        const { ip, port } = request;
        return { op: 'add', ip, port, ...(await replicator.add(ip, port)) };
      }
      case 'remove': {
        const { ip, port } = request;
        return { op: 'remove', ip, port, ...(await replicator.remove(ip, port)) };
      }
      case 'list':
        return { op: 'list', subscribers: replicator.list() };
      case 'stats':
        return { op: 'stats', stats: replicator.stats() };
      case 'watch':
        this.watch(request.seconds, encoding);
        return { op: 'watch', seconds: request.seconds };
      case 'unwatch':
        clearInterval(this.watchTimer);
        return { op: 'unwatch' };
      case 'help':
        return { op: 'help' };
      case 'auth':
        this.authorize(request.token);
        return { op: 'auth' };
      case 'filter.load':
        return {
          op: 'filter.load',
          filter: await replicator.filterLoad(request.name, request.module),
        };
      case 'filter.use': {
        const { name, param = NO_PARAM } = request;
        return {
          op: 'filter.use',
          name,
          subscribers: await replicator.filterUse(name, param, oneOf(request)),
        };
      }
      case 'filter.list':
        return { op: 'filter.list', filters: replicator.filterList() };
      case 'filter.info':
        return { op: 'filter.info', filter: replicator.filterInfo(request.name) };
      case 'filter.unload':
        await replicator.filterUnload(request.name);
        return { op: 'filter.unload', name: request.name };
      default:
        return never(request);
    }
  }

  /** Where no token is set any is right, as for the header: a client need not know. */
  private authorize(offered: string): void {
    const { token } = this.options;
    if (token === null || sameToken(offered, token)) {
      this.authorized = true;
      clearTimeout(this.authTimer);
      return;
    }
    this.authTries += 1;
    if (this.authTries >= AUTH_TRIES_MAX)
      setImmediate(() => void this.end(1008, 'too many wrong tokens'));
    throw new FantailError('UNAUTHORIZED', 'wrong token');
  }

  /** One watch a session: another one replaces it. */
  private watch(seconds: number, encoding: Encoding): void {
    clearInterval(this.watchTimer);
    this.skippedEvents = 0;
    this.watchTimer = setInterval(() => this.tellStats(seconds, encoding), seconds * 1000);
  }

  /**
   * Counters are sums, so a skipped event loses nothing; a peer that reads none of them is let go.
   */
  private tellStats(seconds: number, encoding: Encoding): void {
    if (this.webSocket.readyState !== WebSocket.OPEN) return;
    if (this.webSocket.bufferedAmount > UNREAD_SIZE_MAX) {
      this.skippedEvents += 1;
      const longEnough = this.skippedEvents * seconds * 1000 >= SKIPPED_EVENTS_MS_MIN;
      if (this.skippedEvents >= SKIPPED_EVENTS_MAX && longEnough)
        void this.end(1008, 'events were not read');
      return;
    }
    this.skippedEvents = 0;
    try {
      this.webSocket.send(encodeEvent(encoding, this.options.replicator.stats()));
    } catch (thrown) {
      this.options.onError?.(thrown);
    }
  }

  /**
   * Resolves when the frame has left for the kernel, so that a session has one answer in memory.
   */
  private send(frame: string | Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.webSocket.readyState !== WebSocket.OPEN) return resolve();
      const stalled = setTimeout(() => this.webSocket.terminate(), STALL_MS);
      this.webSocket.send(frame, () => {
        clearTimeout(stalled);
        resolve();
      });
    });
  }
}

const NO_PARAM = new Uint8Array();

/** The subscriber that a request names, or null for all. */
function oneOf({ ip, port }: { ip?: string | undefined; port?: number | undefined }) {
  if (ip === undefined && port === undefined) return null;
  if (ip !== undefined && port !== undefined) return { ip, port };
  throw new FantailError(
    'BAD_REQUEST',
    'filter.use takes ip and port together, or neither for all',
  );
}

function withoutRequest({ encoding, id }: Decoded): {
  encoding: Encoding;
  id: Decoded['id'];
  op: undefined;
} {
  return { encoding, id, op: undefined };
}

function rateLimited(): FantailError {
  return new FantailError(
    'RATE_LIMITED',
    `more than ${REQUESTS_PER_SECOND_MAX} requests in a second; wait for the next`,
  );
}
