/**
 * Legacy control (`--legacy-control`): a UDP server that lets existing control clients drive
 * fantail unchanged.
 *
 * It has no authentication, so it is off unless asked for, and can do no more than the replicator's
 * own rules about destinations allow. A source address is easily forged: requests are rate limited,
 * lists (one byte in, up to 1531 out) most of all, and a datagram from the port that replicators
 * answer on gets no reply, so that two of them cannot be made to talk to each other. Called by the
 * supervisor, which opens the socket.
 */
import { createSocket, type RemoteInfo } from 'node:dgram';
import { type Endpoint, endpointText, isPort } from '../domain/endpoint.js';
import { type Code, FantailError, messageOf, never } from '../domain/errors.js';
import type { Replicator } from '../domain/replicator.js';
import {
  DONE,
  decodeRequest,
  encodeList,
  LEGACY_PORT,
  type LegacyRequest,
  LIST_COUNT_MAX,
  REFUSED,
} from './protocol.js';

/**
 * Requests answered in a second: of all sources, of one source address, and those of them that
 * list.
 */
export const REQUESTS_PER_SECOND_MAX = 2000;
export const SOURCE_REQUESTS_PER_SECOND_MAX = 1000;
export const LISTS_PER_SECOND_MAX = 100;
/** Lines in the log in a second; the rest are counted in one. */
const LINES_PER_SECOND_MAX = 10;

export interface LegacyLog {
  info(about: LegacyAbout, line: string): void;
  warn(about: LegacyAbout, line: string): void;
}

/** What a line is about; nothing of it where it is about no change. */
export interface LegacyAbout {
  readonly op?: 'add' | 'remove';
  /** The client's address. */
  readonly who?: string;
  /** `ok`, or why it was refused; BUSY: it is applied later. */
  readonly code?: 'ok' | Code;
  /** ip:port. */
  readonly subscriber?: string;
}

export interface LegacyOptions {
  /** A bound UDP socket, given up to the server. */
  readonly fd: number;
  /** Where it is bound, for the log and to know replicators by. */
  readonly port: number;
  readonly replicator: Replicator;
  readonly log: LegacyLog;
}

export interface Legacy {
  /** Frees the port; calling it twice is fine. */
  close(): Promise<void>;
}

export function startLegacy(options: LegacyOptions): Promise<Legacy> {
  const socket = createSocket('udp4');
  const server = new Server(options, (reply, to) => {
    // what cannot be sent is lost, as any datagram may be; the client asks again
    if (!isClosed) socket.send(reply, to.port, to.address, () => {});
  });
  let isClosed = false;
  socket.on('message', (bytes, from) => void server.answer(bytes, from));
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ fd: options.fd }, () => {
      socket.removeAllListeners('error');
      socket.on('error', (error) => options.log.warn({}, `legacy control: ${error.message}`));
      const close = () => {
        if (isClosed) return Promise.resolve();
        isClosed = true;
        server.close();
        return new Promise<void>((closed) => socket.close(() => closed()));
      };
      resolve({ close });
    });
  });
}

class Server {
  private readonly rate = new Rate();
  private readonly lines: Lines;

  constructor(
    private readonly options: LegacyOptions,
    private readonly reply: (bytes: Uint8Array, to: RemoteInfo) => void,
  ) {
    this.lines = new Lines(options.log);
  }

  close(): void {
    this.lines.close();
  }

  /** Answers one datagram, or not; never throws. */
  async answer(bytes: Buffer, from: RemoteInfo): Promise<void> {
    const request = decodeRequest(bytes);
    if (request === null || from.port === LEGACY_PORT || from.port === this.options.port) return;
    if (!this.rate.allows(request, from.address)) {
      this.lines.say(
        'warn',
        `legacy control: too many requests, from ${from.address} among others; no reply`,
      );
      return;
    }
    try {
      this.reply(await this.perform(request, from.address), from);
    } catch (thrown) {
      this.lines.say('warn', `legacy control: a fault of its own: ${messageOf(thrown)}`);
      if (request.op === 'add') this.reply(REFUSED, from);
    }
  }

  private perform(request: LegacyRequest, source: string): Promise<Uint8Array> | Uint8Array {
    switch (request.op) {
      case 'add':
        return this.add(request, source);
      case 'remove':
        return this.remove(request, source);
      case 'list':
        return this.list();
      default:
        return never(request);
    }
  }

  private async add({ ip, port }: Endpoint, who: string): Promise<Uint8Array> {
    const subscriber = endpointText({ ip, port });
    const about = { op: 'add', who, subscriber } as const;
    const added = (code: 'ok' | 'BUSY') =>
      this.lines.say('info', `legacy control: ${who} added ${subscriber}`, { ...about, code });
    try {
      if (!isPort(port)) throw new FantailError('BAD_ADDRESS', `port ${port} is none`);
      const { existing } = await this.options.replicator.add(ip, port, null);
      if (!existing) added('ok');
      return DONE;
    } catch (thrown) {
      if (!(thrown instanceof FantailError)) throw thrown;
      const { code, message } = thrown;
      if (code === 'BUSY') {
        added(code); // it takes longer, and is applied all the same
        return DONE;
      }
      const line = `legacy control: refused to ${who}: ${message} (${code})`;
      this.lines.say('warn', line, { ...about, code });
      return REFUSED;
    }
  }

  private async remove({ ip, port }: Endpoint, who: string): Promise<Uint8Array> {
    const subscriber = endpointText({ ip, port });
    const removed = (code: 'ok' | 'BUSY') =>
      this.lines.say('info', `legacy control: ${who} removed ${subscriber}`, {
        op: 'remove',
        who,
        subscriber,
        code,
      });
    try {
      if ((await this.options.replicator.remove(ip, port)).removed) removed('ok');
    } catch (thrown) {
      if (!(thrown instanceof FantailError)) throw thrown;
      if (thrown.code === 'BUSY') removed('BUSY'); // applied later
    }
    return DONE;
  }

  private list(): Uint8Array {
    const rows = this.options.replicator.list();
    if (rows.length > LIST_COUNT_MAX) {
      const all = 'see all with: fantail list';
      this.lines.say(
        'warn',
        `legacy control: a list can tell ${LIST_COUNT_MAX} of ${rows.length} subscribers; ${all}`,
      );
    }
    return encodeList(rows);
  }
}

/** Counts in seconds that begin with the first request; forgets every source with its second. */
class Rate {
  private start = Number.NEGATIVE_INFINITY;
  private requests = 0;
  private lists = 0;
  private readonly sources = new Map<string, number>();

  allows(request: LegacyRequest, source: string): boolean {
    const now = performance.now();
    if (now - this.start >= 1000) {
      this.start = now;
      this.requests = 0;
      this.lists = 0;
      this.sources.clear();
    }
    if (this.requests >= REQUESTS_PER_SECOND_MAX) return false;
    const ofSource = this.sources.get(source) ?? 0;
    if (ofSource >= SOURCE_REQUESTS_PER_SECOND_MAX) return false;
    if (request.op === 'list' && this.lists >= LISTS_PER_SECOND_MAX) return false;
    this.requests += 1;
    this.sources.set(source, ofSource + 1); // at most as many as requests
    if (request.op === 'list') this.lists += 1;
    return true;
  }
}

/** A log that a flood of requests cannot fill. */
class Lines {
  private said = 0;
  private unsaid = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly log: LegacyLog) {}

  say(level: 'info' | 'warn', line: string, about: LegacyAbout = {}): void {
    this.timer ??= setTimeout(() => this.renew(), 1000).unref();
    if (this.said === LINES_PER_SECOND_MAX) {
      this.unsaid += 1;
      return;
    }
    this.said += 1;
    this.log[level](about, line);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private renew(): void {
    this.timer = undefined;
    if (this.unsaid > 0) this.log.warn({}, `legacy control: ${this.unsaid} more in that second`);
    this.said = 0;
    this.unsaid = 0;
  }
}
