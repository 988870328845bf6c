/**
 * A client of legacy control: one datagram out, one back, sent again when none comes (all three
 * requests may be repeated without harm).
 */
import { createSocket, type Socket } from 'node:dgram';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { Failure, messageOf } from '../domain/errors.js';
import { DONE, decodeList, encodeRequest, type LegacyRequest } from './protocol.js';

const REPLY_MS_MAX = 5000;
const REPEAT_MS = 1000;

export interface LegacyServer extends Endpoint {
  /** Namespace to ask from; null: the caller's. */
  readonly netns: string | null;
}

export class LegacyClient {
  constructor(private readonly server: LegacyServer) {}

  async add(subscriber: Endpoint): Promise<void> {
    const reply = await this.ask({ op: 'add', ...subscriber });
    if (reply[0] === DONE[0]) return;
    throw new Failure(
      `Operation failed: the replicator refuses ${endpointText(subscriber)}; its log says why (mostly: see its --allow)`,
    );
  }

  async remove(subscriber: Endpoint): Promise<void> {
    await this.ask({ op: 'remove', ...subscriber });
  }

  async list(): Promise<Endpoint[]> {
    const subscribers = decodeList(await this.ask({ op: 'list' }));
    if (subscribers !== null) return subscribers;
    throw new Failure(`what answers at ${this.where} is not legacy control of a replicator`);
  }

  private get where(): string {
    return endpointText(this.server);
  }

  private async ask(request: LegacyRequest): Promise<Buffer> {
    const socket = await this.open();
    let repeat: NodeJS.Timeout | undefined;
    let late: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        const fail = (why: string) => reject(new Failure(why));
        socket.on('message', resolve);
        socket.on('error', (error: NodeJS.ErrnoException) => fail(this.sentenceOf(error)));
        const send = () => socket.send(encodeRequest(request));
        repeat = setInterval(send, REPEAT_MS);
        late = setTimeout(
          () => fail(`${this.where} has not answered for ${REPLY_MS_MAX / 1000} s; ${START}`),
          REPLY_MS_MAX,
        );
        send();
      });
    } finally {
      clearInterval(repeat);
      clearTimeout(late);
      socket.close();
    }
  }

  /**
   * A connected socket: no answer but the server's, and word from the kernel if nobody is there.
   */
  private async open(): Promise<Socket> {
    const { ip, port, netns } = this.server;
    const socket = createSocket('udp4');
    try {
      if (netns !== null) {
        const { addon } = await import('../memory/addon.js'); // only a namespace takes it
        const fd = addon.openUdp(netns, { ip: '0.0.0.0', port: 0 });
        await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
      }
      await new Promise<void>((resolve, reject) => {
        socket.connect(port, ip, ((error?: Error) =>
          error ? reject(error) : resolve()) as () => void); // the types leave its argument out
      });
      return socket;
    } catch (thrown) {
      socket.close();
      // an errno error of a socket
      throw new Failure(this.sentenceOf(thrown as NodeJS.ErrnoException));
    }
  }

  private sentenceOf(error: NodeJS.ErrnoException): string {
    if (error.code === 'ECONNREFUSED')
      return `nothing serves legacy control at ${this.where}; ${START}`;
    if (error.code === 'ENETUNREACH')
      return `no route to ${this.server.ip}; see: ip route get ${this.server.ip}`;
    return `cannot ask ${this.where}: ${messageOf(error)}`;
  }
}

const START = 'start the replicator with packet_replicator, or fantail up with --legacy-control';
