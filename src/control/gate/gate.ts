/**
 * Who may speak, decided before a WebSocket exists: peer, Host, Origin, token, number of sessions.
 * A refusal is an HTTP status and a sentence. The same rules hold for plain HTTP.
 */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { SESSIONS_MAX, UNAUTHORIZED_SESSIONS_MAX } from '../constants.js';
import type { Access, Rights } from './access.js';

export interface Refusal {
  readonly status: number;
  readonly sentence: string;
}

const WRONG_TOKEN: Refusal = { status: 401, sentence: 'wrong token' };
/** Whether it is to be answered late: see Access. */
export const isWrongToken = (refusal: Refusal): boolean => refusal === WRONG_TOKEN;

/** Why a request is not served at all, or null. The same for plain HTTP and for an upgrade. */
export function refusalOf(request: IncomingMessage, access: Access): Refusal | null {
  if (!access.wantsToken && !isLoopback(request.socket.remoteAddress ?? '')) {
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
  const offered = offeredBy(request);
  const isWrong = offered !== undefined && access.rightsOf(offered) === 'none';
  return isWrong ? WRONG_TOKEN : null;
}

/**
 * A session may begin without the token and show it by `auth`; such sessions have a smaller cap of
 * their own.
 */
export function crowded(
  request: IncomingMessage,
  access: Access,
  sessions: ReadonlySet<{ readonly authorized: boolean }>,
): Refusal | null {
  if (sessions.size >= SESSIONS_MAX) {
    return { status: 503, sentence: `${SESSIONS_MAX} sessions are served; close one first` };
  }
  if (rightsOf(request, access) !== 'none') return null;
  const strangers = [...sessions].filter((session) => !session.authorized).length;
  if (strangers < UNAUTHORIZED_SESSIONS_MAX) return null;
  return {
    status: 503,
    sentence: 'too many sessions without a token; send Authorization: Bearer TOKEN',
  };
}

/** By the header, or since none is wanted. */
export function rightsOf(request: IncomingMessage, access: Access): Rights {
  return access.wantsToken ? access.rightsOf(offeredBy(request) ?? '') : 'all';
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

/**
 * The token of `Authorization: Bearer TOKEN`; another scheme counts as a wrong token. A browser
 * cannot send that header with an upgrade, but it can offer subprotocols (RFC 6455, 4.1): there the
 * token is one of them, `bearer.` and its base64url, beside `fantail`, which is chosen.
 */
export function offeredBy(request: IncomingMessage): string | undefined {
  const { authorization } = request.headers;
  if (authorization === undefined) {
    const offered = protocolsOf(request).find((each) => each.startsWith(BEARER));
    if (offered === undefined) return undefined;
    return Buffer.from(offered.slice(BEARER.length), 'base64url').toString();
  }
  return /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1] ?? '';
}

const BEARER = 'bearer.';

const protocolsOf = ({ headers }: IncomingMessage): string[] =>
  (headers['sec-websocket-protocol'] ?? '').split(',').map((each) => each.trim());

/** Which of those offered is told to be spoken: the first, and never a token. */
export function protocolOf(offered: ReadonlySet<string>): string | false {
  return [...offered].find((each) => !each.startsWith(BEARER)) ?? false;
}

const statusTexts: Record<number, string> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  503: 'Service Unavailable',
};

export function refuseUpgrade(socket: Duplex, { status, sentence }: Refusal): void {
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

/** The same for plain HTTP, which shows a token in a header if one is asked for, and only reads. */
export function httpRefusalOf(
  request: IncomingMessage,
  access: Access,
  asksForToken: boolean,
): Refusal | null {
  const refused = refusalOf(request, access);
  if (refused !== null) return refused;
  if (asksForToken && rightsOf(request, access) === 'none')
    return { status: 401, sentence: 'a token is wanted; send Authorization: Bearer TOKEN' };
  if (request.method === 'GET' || request.method === 'HEAD') return null;
  return { status: 405, sentence: 'only GET is served here' };
}
