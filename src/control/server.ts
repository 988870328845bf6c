/**
 * The control port: a WebSocket server whose sessions ask the replicator, and plain HTTP beside it.
 *
 * Who may speak is decided by the gate, what may be asked is the table of operations, and a session
 * does the talking. Called by the supervisor; it owns its sockets and timers, and knows the
 * replicator only by its interface.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { Change } from '../domain/change.js';
import { Failure } from '../domain/errors.js';
import { PEER_HEADERS } from '../domain/fleet.js';
import type { Replicator } from '../domain/replicator.js';
import { Codec } from './codec.js';
import { SESSIONS_MAX } from './constants.js';
import { Access, type Tokens } from './gate/access.js';
import {
  crowded,
  httpRefusalOf,
  isWrongToken,
  offeredBy,
  protocolOf,
  type Refusal,
  refusalOf,
  refuseUpgrade,
  rightsOf,
} from './gate/gate.js';
import type { Operations } from './operation.js';
import { operations } from './operations.js';
import { Page, wantsPage } from './page.js';
import { Changes } from './session/changes.js';
import { type Served, Session, STALL_MS } from './session/session.js';

/**
 * Bytes of a frame before ws cuts the connection (1009); up to here TOO_LARGE is answered. Base64
 * of 1 MiB fits.
 */
const FRAME_SIZE_MAX = 1536 * 1024;

/** Of a socket that neither reads nor writes, before it is a WebSocket's. */
const SOCKET_TIMEOUT_MS = 10_000;
/** From a plain HTTP request to the end of its answer, however slowly that is read. */
const RESPONSE_TIMEOUT_MS = 30_000;

/** Handles a plain HTTP request that has passed all checks; false: it is none of its business. */
export type OnHttp = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface ControlOptions {
  address: string;
  /** 0: any free port. */
  port: number;
  /** null: only loopback is served. */
  tokens: Tokens | null;
  /** PEM of a certificate (and those between it and a root) and its key: wss and https only. */
  tls?: Tls | null;
  replicator: Replicator;
  /** What may be asked; all there is where none is given. */
  operations?: Operations;
  onHttp?: OnHttp;
  /** Told of each change that was asked for, and how it was answered. */
  onChange?: (change: Change) => void;
  /** Told of each answer: the operation, empty where none could be read, and `ok` or the code. */
  onAnswer?: Served['onAnswer'];
  /** Told of each error that is a fault of fantail's own. */
  onError?: (error: unknown) => void;
  /** For probes; absent: it is ready as soon as the port is open. */
  health?: () => Health;
  /** The file of the dashboard, where it is not the installation's own. */
  pageFile?: string;
}

/** Of the replicator, for who runs it: `/healthz`, `/readyz` and `/fleetz`. */
export interface Health {
  /** Each process of the data path runs. */
  readonly isHealthy: boolean;
  /** `ready` was said, and it does not stop yet. */
  readonly isReady: boolean;
  /** As a member of a group; its peers ask `/fleetz` when they do not reach etcd. */
  readonly member?: Membership | null;
}

export interface Membership {
  readonly group: string;
  readonly member: string;
  readonly reachesRegistry: boolean;
}

export interface Tls {
  readonly cert: string;
  readonly key: string;
}

export interface Control {
  port: number;
  /** Other tokens are right from now on. */
  renewTokens(tokens: Tokens | null): void;
  /** Connections to come are encrypted by that; the port must have been opened with one. */
  renewTls(tls: Tls): void;
  /** Ends all sessions (1001) and frees the port; calling it twice is fine. */
  close(): Promise<void>;
}

/**
 * Opens the control port. An address that is taken or not ours rejects with a Failure that carries
 * the errno.
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { replicator, onChange, onError } = options;
  const access = new Access(options.tokens);
  const served: Served = {
    access,
    replicator,
    codec: new Codec(options.operations ?? operations),
    changes: new Changes(),
    onChange: (change) => onChange?.(change),
    onAnswer: (op, code) => options.onAnswer?.(op, code),
    onError: (thrown) => onError?.(thrown),
  };
  const sessions = new Set<Session>();
  /** Those that have shown a wrong token and wait to be told. */
  const refusing = new Set<Duplex>();
  let closing: Promise<void> | undefined;
  const page = new Page(schemeOf(options.tls), options.pageFile, served.onError);
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_SIZE_MAX,
    perMessageDeflate: false,
    handleProtocols: protocolOf,
  });
  const server = newServer(options.tls ?? null, (request, response) =>
    serve(request, response, { ...options, access, page }),
  );
  server.maxConnections = SESSIONS_MAX * 2;
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    // Node ends its own here; ws sets none, once it has the socket
    request.socket.setTimeout(SOCKET_TIMEOUT_MS, () => socket.destroy());
    const leaving = closing === undefined ? null : { status: 503, sentence: 'fantail stops' };
    const refused = leaving ?? refusalOf(request, access) ?? crowded(request, access, sessions);
    if (refused !== null) {
      refusing.add(socket);
      void whenToBeTold(refused, request, access).then((isAnswered) => {
        refusing.delete(socket);
        if (isAnswered) refuseUpgrade(socket, refused);
        else socket.destroy();
      });
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const { remoteAddress: address = '', remotePort: port = 0 } = request.socket;
      const shown = { rights: rightsOf(request, access), offered: offeredBy(request) };
      const session = new Session(webSocket, served, { address, port }, shown);
      sessions.add(session);
      webSocket.once('close', () => sessions.delete(session));
    });
  });
  const port = await listen(server, options);
  server.on('error', served.onError);
  const heartbeat = setInterval(() => {
    for (const session of sessions) session.checkAlive();
  }, STALL_MS);
  const close = async () => {
    clearInterval(heartbeat);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    for (const socket of refusing) socket.destroy();
    await Promise.all([...sessions].map((session) => session.end(1001, 'fantail stops')));
    server.closeAllConnections();
    await closed;
  };
  return {
    port,
    renewTokens: (tokens) => {
      access.tokens = tokens;
      for (const session of sessions) session.judgeAgain();
    },
    renewTls: (tls) => {
      if (server instanceof TlsServer) server.setSecureContext(tls);
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function newServer(
  tls: Tls | null,
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  const limits = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: 10_000,
    connectionsCheckingInterval: 1000, // else those are looked at every 30 s
    requestTimeout: 10_000,
    keepAliveTimeout: 2000,
  };
  const server =
    tls === null
      ? createServer(limits, onRequest)
      : createTlsServer({ ...limits, ...tls, handshakeTimeout: 5000 }, onRequest);
  server.timeout = SOCKET_TIMEOUT_MS; // the limits above are those of what is read
  return server;
}

/** A wrong token is answered late, or not at all (false): see Access. */
async function whenToBeTold(
  refused: Refusal,
  request: IncomingMessage,
  access: Access,
): Promise<boolean> {
  if (!isWrongToken(refused)) return true;
  return access.afterWrong(request.socket.remoteAddress ?? '');
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

/** Of the address that clients are told. */
export const schemeOf = (tls: Tls | null | undefined): 'ws' | 'wss' =>
  tls === null || tls === undefined ? 'ws' : 'wss';

// ---- plain HTTP ---------------------------------------------------------------------------------

const ALL_WELL: Health = { isHealthy: true, isReady: true };
const statusOf = (isSo: boolean): number => (isSo ? 200 : 503);
const PROBES: Readonly<Record<string, (health: Health, asked: IncomingHttpHeaders) => number>> = {
  '/healthz': ({ isHealthy }) => statusOf(isHealthy),
  '/readyz': ({ isReady }) => statusOf(isReady),
  '/fleetz': ({ member = null }, asked) => {
    if (member === null) return 404;
    // a peer means that member, and somebody else may have its address by now
    const isMeant = (['group', 'member'] as const).every((key) => {
      return (asked[PEER_HEADERS[key]] ?? member[key]) === member[key];
    });
    return isMeant ? statusOf(member.reachesRegistry) : 404;
  },
};

interface ServedByHttp extends ControlOptions {
  readonly access: Access;
  readonly page: Page;
}

/** Whatever fails ends that request, and nothing else. */
function serve(request: IncomingMessage, response: ServerResponse, options: ServedByHttp): void {
  const late = setTimeout(() => request.socket.destroy(), RESPONSE_TIMEOUT_MS).unref();
  response.once('close', () => clearTimeout(late));
  serveHttp(request, response, options).catch((thrown) => {
    options.onError?.(thrown);
    failed(response);
  });
}

async function serveHttp(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServedByHttp,
): Promise<void> {
  const { access, page } = options;
  response.setHeader('Server', 'fantail');
  const answer = (status: number, sentence: string) => {
    if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
    if (status === 405) response.setHeader('Allow', 'GET, HEAD');
    response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(request.method === 'HEAD' ? '' : `fantail: ${sentence}\n`);
  };
  const [path = ''] = (request.url ?? '').split('?');
  const probe = PROBES[path];
  // whoever starts and watches a service has no token; so it is told no more than a status. And the
  // page knows nothing until it has shown one.
  const isPage = probe === undefined && wantsPage(request);
  const refused = httpRefusalOf(request, access, probe === undefined && !isPage);
  if (refused === null && probe !== undefined) {
    response.writeHead(probe(options.health?.() ?? ALL_WELL, request.headers)).end();
  } else if (refused !== null) {
    if (await whenToBeTold(refused, request, access)) answer(refused.status, refused.sentence);
    else request.socket.destroy();
  } else if (isPage) {
    if (!page.serve(request, response)) answer(404, page.lack ?? '');
  } else if (!isHandled(request, response, options)) {
    if (request.url === '/')
      answer(
        200,
        `the control port; try: wscat -c ${schemeOf(options.tls)}://${request.headers.host} -x help`,
      );
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
    failed(response);
    return true;
  }
}

function failed(response: ServerResponse): void {
  if (!response.headersSent) response.writeHead(500);
  response.end();
}
