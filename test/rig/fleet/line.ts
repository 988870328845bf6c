/**
 * A line to an etcd on loopback that can be slow, deaf or cut: what is asked goes through and the
 * answers come later or never, or nobody is reached at all.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { atEnd, sleep } from '../program.js';

export class Line {
  /** Milliseconds by which each answer is late. */
  late_ms = 0;
  /** No answer comes; etcd hears what is asked all the same. */
  isDeaf = false;
  private isWhole = true;
  private readonly sockets = new Set<Socket>();
  readonly close: () => void;

  private constructor(
    private readonly server: Server,
    private readonly to: URL,
  ) {
    server.on('connection', (socket) => this.carry(socket));
    this.close = atEnd(() => {
      server.close();
      this.cut();
    });
  }

  /** Ends all connections, and those that come. */
  cut(): void {
    this.isWhole = false;
    for (const socket of this.sockets) socket.destroy();
  }

  mend(): void {
    this.isWhole = true;
  }

  /** `to`: where that etcd is, such as http://127.0.0.1:2379. */
  static async open(to: string): Promise<Line> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Line(server, new URL(to));
  }

  get url(): string {
    const { port } = this.server.address() as { port: number }; // it listens to TCP
    return `http://127.0.0.1:${port}`;
  }

  private carry(near: Socket): void {
    if (!this.isWhole) {
      near.destroy();
      return;
    }
    const far = connect(Number(this.to.port), this.to.hostname);
    for (const socket of [near, far]) {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => {
        this.sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (data) => far.write(data));
    let order = Promise.resolve();
    far.on('data', (data) => {
      order = order.then(async () => {
        if (this.late_ms > 0) await sleep(this.late_ms);
        // what is held belongs to requests that nobody waits for any more
        if (!this.isDeaf) near.write(data);
      });
    });
  }
}
