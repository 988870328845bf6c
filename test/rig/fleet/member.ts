/**
 * A `fantail up` on a host of a bridge: started, asked, killed as a whole or its supervisor alone,
 * started again. Unlike a Replicator it has a life after its death.
 */
import { Channel, openAsker } from '../channel.js';
import { type End, eventually, type Process, type Program, processesOf } from '../program.js';
import { kill, startUp } from '../replicator.js';
import type { Host } from './bridge.js';

/** From the start to `ready`, and from SIGTERM to the end, on a machine that is busy. */
const READY_MS = 60_000;
const STOP_MS = 60_000;

export interface MemberOptions {
  readonly host: Host;
  /** What it listens for: a group that all members join. */
  readonly feed: { readonly ip: string; readonly port: number };
  /** Flags of `up`. */
  readonly flags: readonly string[];
  /** Of the control channel, where the flags name one. */
  readonly tokenFile?: string;
}

interface Start {
  readonly program: Program;
  readonly marker: string;
}

export class Member {
  private readonly starts: Start[] = [];
  private open: Channel | null = null;
  private closeAsker: () => void = () => {};
  private hangs = false;
  /** From its last start to `ready`. */
  readyAfter_ms = 0;

  constructor(private readonly options: MemberOptions) {}

  get host(): Host {
    return this.options.host;
  }

  /** As it is seen in what arrives. */
  get ip(): string {
    return this.host.ip;
  }

  /** Starts it, for the first time or again; resolves once it is ready, with that line. */
  async start(moreFlags: readonly string[] = []): Promise<string> {
    const began_ms = performance.now();
    const program = await this.begin(moreFlags);
    const [line] = await program.line(/^ready .*$/m, READY_MS);
    this.readyAfter_ms = performance.now() - began_ms;
    const control = /control=ws:\/\/(\S+)/.exec(line)?.[1];
    if (control === undefined) throw new Error(`no control channel in: ${line}`);
    const asker = await openAsker(control, this.host.namespace, this.options.tokenFile);
    this.closeAsker = () => asker.close();
    this.open = new Channel(asker);
    return line;
  }

  /** Starts it without waiting: for those that are to fail. */
  async begin(moreFlags: readonly string[] = []): Promise<Program> {
    const { host, feed, flags } = this.options;
    const { program, marker } = await startUp({
      link: { replicator: host.namespace, interface: host.interface },
      inside: true,
      listenIp: feed.ip,
      listenPort: String(feed.port),
      flags: [...flags, ...moreFlags],
    });
    this.starts.push({ program, marker });
    return program;
  }

  /** Its supervisor does, and its control channel answers. */
  get isRunning(): boolean {
    return this.open !== null && this.supervisor.end === null && !this.hangs;
  }

  /** Its control channel. */
  get channel(): Channel {
    if (this.open === null) throw new Error(`${this.host.name} does not run`);
    return this.open;
  }

  /** Its processes, whichever start they are of. */
  processes(): Process[] {
    return this.starts.flatMap(({ program, marker }) => processesOf(program.pid, marker));
  }

  /** kill -9 of all that it is, as a machine dies; resolves once nothing is left. */
  async kill(): Promise<void> {
    await eventually(`nothing of ${this.host.name} is left`, () => {
      const left = this.processes();
      // the supervisor first: it would replace the others
      for (const { pid } of left.sort((a, b) => a.pid - b.pid)) kill(pid);
      return left.length === 0;
    });
    this.forget();
  }

  /** kill -9 of the supervisor: the data path goes on. */
  async killSupervisor(): Promise<void> {
    process.kill(this.supervisor.pid, 'SIGKILL'); // not its group
    await this.supervisor.wait();
    this.forget();
  }

  /** Its supervisor answers nobody, until it goes on. */
  hangSupervisor(): void {
    process.kill(this.supervisor.pid, 'SIGSTOP');
    this.hangs = true;
  }

  goOnSupervisor(): void {
    process.kill(this.supervisor.pid, 'SIGCONT');
    this.hangs = false;
  }

  /** As a service manager ends it; resolves with how it ended. */
  stop(): Promise<End> {
    process.kill(this.supervisor.pid, 'SIGTERM');
    return this.ended();
  }

  /** Waits until it has ended by itself. */
  async ended(): Promise<End> {
    const end = await this.supervisor.wait(STOP_MS);
    this.forget();
    return end;
  }

  /** What its last supervisor has said. */
  told(): string {
    return this.starts.at(-1)?.program.told() ?? `${this.host.name} was never started`;
  }

  close(): void {
    this.forget();
    for (const { program } of this.starts) program.close();
    for (const { pid } of this.processes()) kill(pid);
  }

  private get supervisor(): Program {
    const program = this.starts.at(-1)?.program;
    if (program === undefined) throw new Error(`${this.host.name} was never started`);
    return program;
  }

  private forget(): void {
    this.closeAsker();
    this.closeAsker = () => {};
    this.open = null;
    this.hangs = false;
  }
}
