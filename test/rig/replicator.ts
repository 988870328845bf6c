/**
 * A running `fantail up` under test: started, waited for, asked over its control channel, stopped,
 * and looked after until nothing of it is left.
 */

import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Asker, Channel, isLater, LATER, openAsker } from './channel.js';
import { type Link, REPLICATOR_IP } from './link.js';
import {
  atEnd,
  type End,
  eventually,
  MAIN,
  type Process,
  Program,
  processesOf,
  processesWith,
  ROOT,
} from './program.js';
import { LISTEN_PORT } from './wire.js';

/** From the start to `ready`: opening, attaching and several Nodes on a machine that is busy. */
const READY_MS = 60_000;
/** From SIGTERM to the end. */
const STOP_MS = 30_000;
/** wscat's own wait for what comes; a test ends it before. */
const WSCAT_SECONDS = 60;
/** A user without any rights, by number: names differ from one distribution to the next. */
const NOBODY = '65534';

/** Where a replicator runs: a link's near side, or a host on a bridge. */
export interface Place {
  /** Its namespace. */
  readonly replicator: string;
  readonly interface: string;
}

export interface UpOptions<Where extends Place = Link> {
  readonly link: Where;
  /** Flags of `up` beside --control and --netns. */
  readonly flags?: readonly string[];
  /** Default rep0, 10.77.0.1 and 9000. */
  readonly interface?: string;
  readonly listenIp?: string;
  readonly listenPort?: string;
  /**
   * Run inside the replicator's namespace, control and all, instead of reaching into it with
   * --netns.
   */
  readonly inside?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  /** The program of another Node than the one that runs the tests. */
  readonly node?: string;
  /** Without any privilege but `capabilities`; implies `inside`. */
  readonly unprivileged?: boolean;
  /** In the ambient set of an unprivileged one, as setpriv names them: `net_raw`. */
  readonly capabilities?: readonly string[];
  /**
   * Makes a command line of the words of `up`: what runs it elsewhere, with the mark in the
   * environment; goes with `inside`.
   */
  readonly elsewhere?: (words: readonly string[], mark: string) => readonly string[];
}

/** One that has ended since it was looked for is as good. */
export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ESRCH') throw thrown;
  }
}

const isStandby = ({ command }: Process) => / standby$/.test(command);

let count = 0;
/** In the environment of all that this process starts as `up`. */
const MARK = `FANTAIL_TEST=${process.pid}x`;

/** Every process of every replicator of this test, whoever has adopted it. */
export const replicatorProcesses = (): Process[] => processesWith(MARK);

/** A free port of the loopback interface, free at least a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === 'object' && address !== null ? address.port : 0),
      );
    });
  });
}

/** Runs `fantail …` to its end; in a namespace if one is named. */
export async function fantail(args: readonly string[], namespace?: string): Promise<Program> {
  const program = new Program(
    process.execPath,
    [MAIN, ...args],
    namespace === undefined ? {} : { namespace },
  );
  try {
    await program.wait();
  } finally {
    program.close();
  }
  return program;
}

/** The command line that runs its arguments as nobody, from a place that nobody may read. */
function unprivileged(command: readonly string[], capabilities: readonly string[]): string[] {
  // A clone may be in a folder that only root can enter: it is seen at /mnt in a mount namespace of
  // its own.
  const script = 'mount --bind "$1" /mnt && cd /mnt && shift && exec "$@"';
  const given = ['-all', ...capabilities.map((name) => `+${name}`)].join();
  const rights = [
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    '--clear-groups',
    `--inh-caps=${given}`,
    `--ambient-caps=${given}`,
    `--bounding-set=${given}`,
  ];
  return ['unshare', '-m', 'sh', '-c', script, 'sh', ROOT, 'setpriv', ...rights, ...command];
}

/** `fantail up` as a program that runs, ready or not. */
export async function startUp(
  options: UpOptions<Place>,
): Promise<{ program: Program; control: string; marker: string }> {
  const { link, flags = [], inside = false } = options;
  const marker = `${MARK}${count++}`;
  const place: string[] = [];
  let control = '127.0.0.1:12345'; // the default: the namespace is the test's own, so it is free
  if (!inside && !options.unprivileged) {
    control = `127.0.0.1:${await freePort()}`;
    place.push('--netns', link.replicator, '--control', control);
  }
  const { interface: name = link.interface, listenIp = REPLICATOR_IP } = options;
  const main = options.unprivileged ? join('build', 'programs', 'main.js') : MAIN;
  const port = options.listenPort ?? String(LISTEN_PORT);
  const up = ['up', name, listenIp, port, ...place, ...flags];
  const whole = options.elsewhere?.(up, marker) ?? [options.node ?? process.execPath, main, ...up];
  const [command = '', ...args] = options.unprivileged
    ? unprivileged(whole, options.capabilities ?? [])
    : whole;
  const [variable = '', value = ''] = marker.split('=');
  const program = new Program(command, args, {
    group: true,
    environment: { ...options.environment, [variable]: value },
    ...(inside || options.unprivileged ? { namespace: link.replicator } : {}),
  });
  atEnd(() => {
    for (const { pid } of processesOf(program.pid, marker)) kill(pid);
  });
  return { program, control, marker };
}

export class Replicator extends Channel {
  private constructor(
    readonly link: Link,
    readonly program: Program,
    /** ip:port of the control channel. */
    readonly control: string,
    /** In the environment of all its processes. */
    readonly mark: string,
    private readonly namespace: string | undefined,
    asker: Asker,
  ) {
    super(asker);
  }

  static async start(options: UpOptions): Promise<Replicator> {
    const { program, control, marker } = await startUp(options);
    const [line] = await program.line(/^ready .*$/m, READY_MS);
    const namespace = options.inside || options.unprivileged ? options.link.replicator : undefined;
    // The next free port is used, and told, where the default one is taken.
    const told = /control=ws:\/\/(\S+)/.exec(line)?.[1] ?? control;
    const asker = await openAsker(told, namespace);
    return new Replicator(options.link, program, told, marker, namespace, asker);
  }

  /** Its processes, the supervisor's included. */
  processes(): Process[] {
    return processesOf(this.program.pid, this.mark).filter((one) => !isStandby(one));
  }

  /** Those that wait to take the place of one that dies. */
  standbys(): Process[] {
    return processesOf(this.program.pid, this.mark).filter(isStandby);
  }

  /** The one process that runs `fantail-rx`. */
  receiver(): Process {
    const found = this.processes().filter(({ command }) => /fantail-rx/.test(command));
    const [only] = found;
    if (only === undefined || found.length > 1)
      throw new Error(`${found.length} receivers: ${JSON.stringify(found)}`);
    return only;
  }

  /**
   * Asks by the real wscat, where the control channel is, until it has printed the answer; where
   * that is ok, or that a worker follows later.
   */
  async wscat(message: string, answer: RegExp): Promise<void> {
    const program = this.startWscat(message);
    const { source, flags } = answer;
    const isTaken = /^\^?ok|"ok":true/.test(source);
    const [said] = await program.line(new RegExp(isTaken ? `${source}|${LATER}` : source, flags));
    program.close();
    if (isLater(said)) await this.followed();
  }

  /** Asks by it, and goes on listening. */
  startWscat(message: string): Program {
    const args = ['-c', `ws://${this.control}`, '-x', message, '-w', String(WSCAT_SECONDS)];
    return new Program('node_modules/.bin/wscat', args, { namespace: this.link.replicator });
  }

  /** A client command of the CLI; it must succeed, be it that a worker follows later. */
  async cli(...args: string[]): Promise<string> {
    const program = await fantail([...args, '--control', `ws://${this.control}`], this.namespace);
    if (program.end?.status === 0) return program.stdout;
    const told = program.told();
    if (!isLater(told)) throw new Error(`fantail ${args.join(' ')}: ${told}\n${this.told()}`);
    await this.followed();
    return program.stdout;
  }

  /** Signals the supervisor alone; resolves when it has ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<End> {
    process.kill(this.program.pid, signal);
    return this.ended();
  }

  /** As Ctrl-C does in a terminal: every process of the group gets the signal. */
  async interrupt(): Promise<End> {
    this.program.signal('SIGINT');
    return this.ended();
  }

  /** Our own session lasts until then: its end would take what has a lease on it. */
  private async ended(): Promise<End> {
    const end = await this.program.wait(STOP_MS);
    this.asker.close();
    return end;
  }

  /** What is left of it, as sentences; the kernel takes a moment to detach its XDP program. */
  async residue(): Promise<string[]> {
    const left = () => residueOf(this.link, this.program, this.mark);
    try {
      await eventually('nothing is left', () => left().length === 0);
      return [];
    } catch {
      return left();
    }
  }

  /** Ends it whatever its state. */
  close(): void {
    this.asker.close();
    this.program.close(); // first: it would replace those that end
    for (const { pid } of [...this.processes(), ...this.standbys()]) kill(pid);
  }

  told(): string {
    return this.program.told();
  }
}

/** What a replicator has left on the machine once it should be gone. */
export function residueOf(link: Link, program: Program, marker: string): string[] {
  const processes = processesOf(program.pid, marker).map(
    ({ pid, command }) => `process ${pid}: ${command}`,
  );
  const xdp = link.xdpProgram();
  const files = [tmpdir(), '/dev/shm'].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.includes('fantail') && name.includes(String(program.pid)))
      .map((name) => `file ${join(folder, name)}`),
  );
  return [
    ...processes,
    ...(xdp === null ? [] : [`XDP program ${xdp} on rep0`]),
    ...link.abstractSockets().map((row) => `abstract socket ${row}`),
    ...files,
  ];
}
